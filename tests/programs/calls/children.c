/* children WAY PATH: a child made in each way prints a remote file's first line by cat. */
#include "calls.h"
#include <pthread.h>
#include <spawn.h>

extern char **environ;
static char *command[] = {"/bin/cat", NULL, NULL};

static void *run(void *nothing)
{
    execv(command[0], command);
    die("execv");
    return nothing;
}

static pid_t start(const char *way)
{
    pid_t child = -1;

    if (!strcmp(way, "vfork")) {
        child = vfork();
        if (child == 0) {
            execv(command[0], command);
            _exit(127);
        }
    } else if (!strcmp(way, "spawn")) {
        errno = posix_spawn(&child, command[0], NULL, NULL, command, environ);
    } else {
        child = fork();
        if (child == 0) {
            pthread_t thread;
            pthread_create(&thread, NULL, run, NULL);
            pthread_join(thread, NULL);
            _exit(127);
        }
    }
    return check("start", child);
}

int main(int count, char **arguments)
{
    int status;

    if (count != 3)
        return 2;
    command[1] = arguments[2];
    check("waitpid", waitpid(start(arguments[1]), &status, 0));
    printf("status %d\n", status);
    return 0;
}
