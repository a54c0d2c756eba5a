/* Makes processes in an unusual way; each asks for the host name, and its answer is printed.
 * Arguments: vfork | spawn | thread | many NUMBER | sharedfiles HOST PORT; `child` is what they run. */
#include "probe.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static char *self;

static int print_host(void)
{
    char host[256];
    must(gethostname(host, sizeof host), "gethostname");
    printf("hostname=%s\n", host);
    return 0;
}

static int wait_for(pid_t pid)
{
    int status;
    must(waitpid(pid, &status, 0), "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char **child_arguments(void)
{
    static char *arguments[] = {"spawning", "child", NULL};
    return arguments;
}

static int by_vfork(void)
{
    pid_t pid = vfork();
    if (pid == 0) {
        execve(self, child_arguments(), environ);
        _exit(127);
    }
    return wait_for((pid_t)must(pid, "vfork"));
}

static int by_spawn(void)
{
    pid_t pid;
    if (posix_spawn(&pid, self, NULL, NULL, child_arguments(), environ))
        return 71;
    return wait_for(pid);
}

static void *exec_in_thread(void *ignored)
{
    (void)ignored;
    execve(self, child_arguments(), environ);
    _exit(127);
}

/* The kernel gives the thread that calls exec the leader's id, and ends all others. */
static int by_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, exec_in_thread, NULL);
    pthread_join(thread, NULL);
    return 71;
}

/* All children live before the first one asks: they wait for the end of a pipe. */
static int many(int number)
{
    int gate[2], good = 0;
    char host[256], mine[256], byte;
    must(pipe(gate), "pipe");
    must(gethostname(mine, sizeof mine), "gethostname");
    for (int at = 0; at < number; at++)
        if (must(fork(), "fork") == 0) {
            close(gate[1]);
            (void)!read(gate[0], &byte, 1);
            _exit(gethostname(host, sizeof host) || strcmp(host, mine) ? 1 : 0);
        }
    close(gate[1]);
    for (int at = 0; at < number; at++)
        good += wait_for(-1) == 0;
    printf("hostname=%s\nasked=%d\n", mine, good);
    return 0;
}

static struct address peer;
static int shared_fd;

static int connect_shared(void *ignored)
{
    (void)ignored;
    shared_fd = socket(peer.storage.ss_family, SOCK_STREAM, 0);
    return connect(shared_fd, (struct sockaddr *)&peer.storage, peer.size) ? errno : 0;
}

/* The child shares our memory and our descriptor table: what it connects is ours. */
static int shared_files(void)
{
    static char stack[256 * 1024];
    char answer[8] = "", text[80];
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    int pid = (int)must(clone(connect_shared, stack + sizeof stack, CLONE_FILES | CLONE_VM | SIGCHLD, NULL), "clone");
    printf("connect=%d\n", wait_for(pid));
    must(getpeername(shared_fd, (struct sockaddr *)&name, &size), "getpeername");
    printf("peer=%s\n", text_of(&name, 1, text, sizeof text));
    must(write(shared_fd, "ping", 4), "write");
    must(read(shared_fd, answer, 4), "read");
    printf("answer=%s\n", answer);
    return 0;
}

int main(int count, char **arguments)
{
    const char *way = count > 1 ? arguments[1] : "";
    self = realpath("/proc/self/exe", NULL);
    if (!strcmp(way, "child"))
        return print_host();
    if (!strcmp(way, "vfork"))
        return by_vfork();
    if (!strcmp(way, "spawn"))
        return by_spawn();
    if (!strcmp(way, "thread"))
        return by_thread();
    if (!strcmp(way, "many") && count == 3)
        return many(atoi(arguments[2]));
    if (!strcmp(way, "sharedfiles") && count == 4) {
        peer = address_of(arguments[2], arguments[3]);
        return shared_files();
    }
    return 64;
}
