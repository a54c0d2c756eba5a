/* untraced clone|clone3 PATH: a child made with CLONE_UNTRACED, by which a tracer would lose it, reads a file. */
#include "calls.h"
#include <linux/sched.h>

/* a constant: what is changed for the kernel must not be changed here */
static const struct clone_args constant = {.flags = CLONE_UNTRACED, .exit_signal = SIGCHLD};

int main(int count, char **arguments)
{
    bool third;
    int status;
    long child;

    if (count != 3)
        return 2;
    third = strcmp(arguments[1], "clone3") == 0;
    child = third ? syscall(SYS_clone3, &constant, sizeof constant)
                  : syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0L, 0L, 0L, 0L);
    if (check("clone", child) == 0) {
        first_line_of(arguments[2]);
        fflush(stdout);
        _exit(0);
    }
    check("waitpid", waitpid(child, &status, 0));
    printf("status %d\n", status);
    printf("flags %s\n", constant.flags == CLONE_UNTRACED ? "kept" : "changed");
    return 0;
}
