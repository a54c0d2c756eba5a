/* hidden FILE: opens a file before, while and after its memory may not be looked into by others. */
#include "calls.h"
#include <sys/prctl.h>

static void attempt(const char *when, const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);

    printf("%s %s\n", when, result(file));
    if (file >= 0)
        close(file);
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    attempt("before", arguments[1]);
    check("prctl", prctl(PR_SET_DUMPABLE, 0));
    usleep(400000); /* what is known of a thread is looked at afresh after a while */
    attempt("hidden", arguments[1]);
    attempt("hidden", arguments[1]);
    check("prctl", prctl(PR_SET_DUMPABLE, 1));
    attempt("shown", arguments[1]);
    return 0;
}
