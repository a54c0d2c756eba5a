/* Makes calls while SIGALRM arrives a hundred times a second, with a handler.
 * Arguments: WHAT [restart] ARGUMENTS...
 *   files NUMBER PATH...   prints how many of NUMBER stat, access and open calls on the paths gave EINTR
 *   connect HOST PORT      a blocking connect: prints its errno, or `restarted` from the handler's 20th run
 *   recvfrom HOST PORT     the same for a recvfrom with an address on an unconnected UDP socket that sent to it
 *   accept                 the same for an accept with an address */
#include "probe.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>

#define ENOUGH 20

static volatile sig_atomic_t ticks;
static volatile sig_atomic_t blocked;

static void on_alarm(int number)
{
    static const char text[] = "restarted\n";
    (void)number;
    if (++ticks >= ENOUGH && blocked) {
        (void)!write(STDOUT_FILENO, text, sizeof text - 1);
        _exit(0);
    }
}

static void start_ticking(int flags)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = flags};
    struct itimerval interval = {{0, 10000}, {0, 10000}};
    must(sigaction(SIGALRM, &action, NULL), "sigaction");
    must(setitimer(ITIMER_REAL, &interval, NULL), "setitimer");
}

static int touch_files(int number, char **paths)
{
    int interrupted = 0, failed = 0, calls = 0;
    struct stat status;
    for (int round = 0; round < number; round++)
        for (char **path = paths; *path; path++) {
            int fd = open(*path, O_RDONLY | O_CLOEXEC);
            int results[] = {fd, fd < 0 ? errno : 0, stat(*path, &status), errno, access(*path, R_OK), errno};
            for (int at = 0; at < 6; at += 2, calls++) {
                interrupted += results[at] < 0 && results[at + 1] == EINTR;
                failed += results[at] < 0 && results[at + 1] != EINTR;
            }
            if (fd >= 0)
                close(fd);
        }
    printf("calls=%d interrupted=%d failed=%d ticked=%d\n", calls, interrupted, failed, ticks > 0);
    return 0;
}

static void finish(const char *what, long result)
{
    report(what, result);
    printf("ticked=%s\n", ticks == 0 ? "no" : ticks <= 10 ? "within 100 ms" : "too often");
}

int main(int count, char **arguments)
{
    if (count < 2)
        return 64;
    int restart = count > 2 && !strcmp(arguments[2], "restart");
    char **rest = arguments + 2 + restart;
    const char *what = arguments[1];
    struct sockaddr_storage name;
    socklen_t size = sizeof name;

    start_ticking(restart ? SA_RESTART : 0);
    if (!strcmp(what, "files"))
        return touch_files(atoi(rest[0]), rest + 1);
    blocked = 1;
    if (!strcmp(what, "connect")) {
        struct address peer = address_of(rest[0], rest[1]);
        int fd = (int)must(socket(peer.storage.ss_family, SOCK_STREAM, 0), "socket");
        finish(what, connect(fd, (struct sockaddr *)&peer.storage, peer.size));
    } else if (!strcmp(what, "recvfrom")) {
        struct address peer = address_of(rest[0], rest[1]);
        char data[16];
        int fd = (int)must(socket(peer.storage.ss_family, SOCK_DGRAM, 0), "socket");
        while (sendto(fd, "x", 1, 0, (struct sockaddr *)&peer.storage, peer.size) < 0 && errno == EINTR)
            continue;
        finish(what, recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&name, &size));
    } else if (!strcmp(what, "accept")) {
        int fd = (int)must(socket(AF_INET, SOCK_STREAM, 0), "socket");
        must(listen(fd, 1), "listen");
        finish(what, accept(fd, (struct sockaddr *)&name, &size));
    } else {
        return 64;
    }
    return 0;
}
