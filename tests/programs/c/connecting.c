/* Connects a socket in one of many ways, and prints every fact about it that a program can ask for.
 * Arguments: HOST PORT WAY, and REMOTE to say what getpeername is expected to be equal to in its length too.
 * Ways: blocking, nonblocking, bound, boundport, twice, mptcp, fastopen, fastopenconnect, v6only, sndtimeo, reuse. */
#include "probe.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/time.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int is(const char *way, const char *name)
{
    return !strcmp(way, name);
}

static void print_so_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    printf("so_error=%s size=%u\n", error ? strerrorname_np(error) : "0", size);
}

static void print_names(int fd)
{
    struct sockaddr_storage name;
    char text[80];
    socklen_t size = sizeof name;
    if (getpeername(fd, (struct sockaddr *)&name, &size))
        report("peer", -1);
    else
        printf("peer=%s size=%u\n", text_of(&name, 1, text, sizeof text), size);
    size = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &size))
        report("own", -1);
    else
        printf("own=%s size=%u\n", text_of(&name, 0, text, sizeof text), size);
}

static void print_truncated_peer(int fd)
{
    unsigned char name[sizeof(struct sockaddr_storage)];
    socklen_t size = 5;
    memset(name, 0xee, sizeof name);
    if (getpeername(fd, (struct sockaddr *)name, &size) == 0)
        printf("truncated size=%u next=%02x\n", size, name[5]);
    report("badpointer", getpeername(fd, (struct sockaddr *)8, &size));
}

static void print_events(int fd, int patience)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    int count = poll(&entry, 1, patience);
    printf("poll=%d%s%s%s%s%s\n", count, entry.revents & POLLIN ? " in" : "", entry.revents & POLLOUT ? " out" : "",
           entry.revents & POLLRDHUP ? " rdhup" : "", entry.revents & POLLHUP ? " hup" : "",
           entry.revents & POLLERR ? " err" : "");
}

static int make_socket(const char *way, const struct address *peer)
{
    int family = peer->storage.ss_family, one = 1;
    int fd = (int)must(socket(family, SOCK_STREAM, is(way, "mptcp") ? IPPROTO_MPTCP : 0), "socket");
    if (is(way, "nonblocking"))
        must(fcntl(fd, F_SETFL, O_NONBLOCK), "fcntl");
    if (is(way, "v6only"))
        must(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one), "IPV6_V6ONLY");
    if (is(way, "reuse"))
        must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), "SO_REUSEADDR");
    if (is(way, "fastopenconnect"))
        must(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof one), "TCP_FASTOPEN_CONNECT");
    if (is(way, "sndtimeo")) {
        struct timeval patience = {.tv_usec = 300000};
        must(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), "SO_SNDTIMEO");
    }
    if (is(way, "bound") || is(way, "reuse")) {
        struct sockaddr_storage any = {.ss_family = (sa_family_t)family};
        must(bind(fd, (struct sockaddr *)&any, peer->size), "bind");
    }
    return fd;
}

static void exchange(int fd, const char *way)
{
    char answer[64] = "";
    struct timeval patience = {.tv_sec = 20};
    fcntl(fd, F_SETFL, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (!is(way, "fastopen"))
        report("send", send(fd, "ping", 4, MSG_NOSIGNAL));
    ssize_t got = recv(fd, answer, sizeof answer - 1, 0);
    printf("recv=%s %s\n", result_name(got), answer);
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 64;
    const char *way = arguments[3];
    struct address peer = address_of(arguments[1], arguments[2]);
    struct sockaddr *name = (struct sockaddr *)&peer.storage;
    int fd = make_socket(way, &peer);

    if (is(way, "fastopen"))
        report("sendto", sendto(fd, "ping", 4, MSG_FASTOPEN | MSG_NOSIGNAL, name, peer.size));
    else
        report("connect", connect(fd, name, peer.size));
    if (is(way, "nonblocking")) {
        report("again", connect(fd, name, peer.size) < 0 && errno != EALREADY ? -1 : 0);
        print_events(fd, 2000);
        print_so_error(fd);
    }
    print_so_error(fd);
    print_names(fd);
    print_truncated_peer(fd);
    if (is(way, "twice"))
        report("twice", connect(fd, name, peer.size));
    exchange(fd, way);
    print_events(fd, 0);
    return 0;
}
