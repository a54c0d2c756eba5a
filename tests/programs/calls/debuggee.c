/* Something for a debugger to stop in: prints the host name through a function of its own. */
#include <stdio.h>
#include <unistd.h>

__attribute__((noinline)) void describe(const char *name)
{
    printf("host %s\n", name);
}

int main(void)
{
    char name[256];

    gethostname(name, sizeof name);
    describe(name);
    return 0;
}
