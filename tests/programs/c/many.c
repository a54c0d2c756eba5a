/* Opens NUMBER connections from one event loop, sends one line over each when all are open, and prints how many
 * came back right; with `wait` it then waits for the end of standard input. Arguments: HOST PORT NUMBER [wait]. */
#include "probe.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#define BATCH 512

static int open_all(int epoll, const struct address *peer, int number)
{
    int failed = 0;
    for (int at = 0; at < number; at++) {
        int fd = (int)must(socket(peer->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
        struct epoll_event interest = {.events = EPOLLOUT, .data.fd = fd};
        if (connect(fd, (const struct sockaddr *)&peer->storage, peer->size) && errno != EINPROGRESS)
            failed++;
        must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &interest), "epoll_ctl");
    }
    return failed;
}

static int finish_connect(int epoll, int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    struct epoll_event interest = {.events = 0, .data.fd = fd};
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    must(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &interest), "epoll_ctl");
    return error == 0;
}

static int write_line(int fd)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%d\n", fd);
    return write(fd, line, (size_t)length) == length;
}

static int read_line(int epoll, int fd)
{
    char line[32] = "";
    struct epoll_event interest = {.events = 0, .data.fd = fd};
    must(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &interest), "epoll_ctl");
    return read(fd, line, sizeof line - 1) > 0 && atoi(line) == fd;
}

/* Waits for one event of each of `number` descriptors and returns for how many `step` was successful. */
static int each(int epoll, int number, int (*step)(int, int))
{
    struct epoll_event events[BATCH];
    int good = 0, seen = 0;
    while (seen < number) {
        int count = epoll_wait(epoll, events, BATCH, 120000);
        if (count <= 0)
            break;
        for (int at = 0; at < count; at++, seen++)
            good += step(epoll, events[at].data.fd);
    }
    return good;
}

int main(int count, char **arguments)
{
    if (count < 4)
        return 64;
    struct address peer = address_of(arguments[1], arguments[2]);
    int number = atoi(arguments[3]), epoll = (int)must(epoll_create1(0), "epoll_create1"), first = epoll + 1, sent = 0;
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");

    printf("failed=%d\n", open_all(epoll, &peer, number));
    printf("connected=%d\n", each(epoll, number, finish_connect));
    fflush(stdout);
    for (int fd = first; fd < first + number; fd++) {
        struct epoll_event interest = {.events = EPOLLIN, .data.fd = fd};
        must(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &interest), "epoll_ctl");
        sent += write_line(fd);
    }
    printf("sent=%d\nechoed=%d\n", sent, each(epoll, number, read_line));
    fflush(stdout);
    if (count > 4)
        while (getchar() != EOF)
            continue;
    return 0;
}
