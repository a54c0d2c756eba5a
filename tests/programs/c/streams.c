/* Looks at how a connection ends. Arguments: HOST PORT WHAT.
 *   half    sends 1 MiB, ends its side, and counts what still comes back until the other side ends
 *   abort   sends a line and resets the connection (SO_LINGER 0)
 *   reset   waits for the other side to reset, and prints what poll, recv, send and SO_ERROR say then
 *   shut    ends both sides and looks at poll and recv */
#include "probe.h"

#include <poll.h>
#include <pthread.h>

#define AMOUNT (1 << 20)

static int fd;

static void *send_all(void *ignored)
{
    static char block[65536];
    for (int left = AMOUNT; left > 0; left -= (int)sizeof block)
        must(send(fd, block, sizeof block, MSG_NOSIGNAL), "send");
    report("shutdown", shutdown(fd, SHUT_WR));
    return ignored;
}

static void half(void)
{
    char block[65536];
    pthread_t sender;
    ssize_t got;
    long sum = 0;
    pthread_create(&sender, NULL, send_all, NULL);
    while ((got = recv(fd, block, sizeof block, 0)) > 0)
        sum += got;
    pthread_join(sender, NULL);
    printf("received=%ld end=%s\n", sum, result_name(got));
}

static void reset(void)
{
    char byte;
    int error = 0;
    socklen_t size = sizeof error;
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    must(send(fd, "reset me\n", 9, MSG_NOSIGNAL), "send");
    while (poll(&entry, 1, 20000) == 1 && !(entry.revents & POLLERR))
        continue;
    printf("poll=%s%s%s\n", entry.revents & POLLERR ? "err " : "", entry.revents & POLLHUP ? "hup " : "",
           entry.revents & POLLRDHUP ? "rdhup" : "");
    report("recv", recv(fd, &byte, 1, 0));
    report("send", send(fd, "x", 1, MSG_NOSIGNAL));
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    printf("so_error=%d\n", error);
}

static void shut(void)
{
    char byte;
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    report("shutdown", shutdown(fd, SHUT_RDWR));
    report("recv", recv(fd, &byte, 1, 0));
    report("send", send(fd, "x", 1, MSG_NOSIGNAL));
    must(poll(&entry, 1, 5000), "poll");
    printf("rdhup=%d\n", !!(entry.revents & POLLRDHUP));
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 64;
    struct address peer = address_of(arguments[1], arguments[2]);
    fd = (int)must(socket(peer.storage.ss_family, SOCK_STREAM, 0), "socket");
    must(connect(fd, (struct sockaddr *)&peer.storage, peer.size), "connect");
    if (!strcmp(arguments[3], "half")) {
        half();
    } else if (!strcmp(arguments[3], "abort")) {
        struct linger now = {1, 0};
        must(send(fd, "abort\n", 6, MSG_NOSIGNAL), "send");
        must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), "SO_LINGER");
        report("close", close(fd));
    } else if (!strcmp(arguments[3], "reset")) {
        reset();
    } else if (!strcmp(arguments[3], "shut")) {
        shut();
    } else {
        return 64;
    }
    return 0;
}
