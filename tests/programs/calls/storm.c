/* storm SECONDS PATH: eight threads with 25 children each, again and again until the time is up. Every child opens
 * a file, makes a thread, forks, and executes a program, with a profiling timer of 100 Hz; its parent stops it and
 * has it go on meanwhile. */
#include "calls.h"
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>

enum { THREADS = 8, CHILDREN = 25, ROUNDS = 2 };

extern char **environ;
static atomic_int failed, done;
static volatile sig_atomic_t ticks;
static double deadline;
static const char *path;

static void tick(int number)
{
    (void)number;
    ticks++;
}

static void profile(void)
{
    struct itimerval often = {{0, 10000}, {0, 10000}};

    handle(SIGPROF, tick, SA_RESTART);
    setitimer(ITIMER_PROF, &often, NULL);
}

static int ended(pid_t child)
{
    int status = -1;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + status;
}

static void *nothing(void *given)
{
    return given;
}

static bool work(void)
{
    char *line[] = {"/bin/true", NULL}, data[16];
    pthread_t thread;
    void *got = NULL;
    pid_t child;
    int file = open(path, O_RDONLY);

    if (file < 0 || read(file, data, sizeof data) <= 0 || close(file))
        return false;
    if (pthread_create(&thread, NULL, nothing, data) || pthread_join(thread, &got) || got != data)
        return false;
    if ((child = fork()) == 0)
        _exit(access("/nowhere", F_OK) ? 7 : 8);
    if (ended(child) != 7)
        return false;
    return posix_spawn(&child, line[0], NULL, NULL, line, environ) == 0 && ended(child) == 0;
}

static int live(void)
{
    profile();
    for (int i = 0; i < ROUNDS; i++)
        if (!work())
            return 1;
    return 0;
}

static void *crowd(void *given)
{
    pid_t children[CHILDREN];

    do {
        for (int i = 0; i < CHILDREN; i++)
            if ((children[i] = fork()) == 0)
                _exit(live());
        for (int i = 0; i < CHILDREN; i++)
            kill(children[i], i % 3 ? SIGSTOP : SIGTSTP);
        for (int i = 0; i < CHILDREN; i++)
            kill(children[i], SIGCONT);
        for (int i = 0; i < CHILDREN; i++)
            failed += children[i] < 0 || ended(children[i]) != 0;
        done += CHILDREN;
    } while (now() < deadline);
    return given;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];

    if (count != 3)
        return 2;
    deadline = now() + atof(arguments[1]);
    path = arguments[2];
    profile();
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, crowd, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("failed %d\nhundreds %s\n", failed, done >= THREADS * CHILDREN ? "yes" : "no");
    return 0;
}
