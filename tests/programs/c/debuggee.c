/* Asks for the host name in a function of its own, for a debugger to stop in. */
#include <stdio.h>
#include <unistd.h>

__attribute__((noinline)) void show(const char *host)
{
    printf("host %s\n", host);
}

int main(void)
{
    char host[256];
    if (gethostname(host, sizeof host))
        return 1;
    show(host);
    return 0;
}
