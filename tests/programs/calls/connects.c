/* connects WAY HOST PORT: what a connect, its errors and its addresses look like to the program. */
#include "calls.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static void addresses(int sock)
{
    union address own = {0}, peer = {0};
    socklen_t size = sizeof own;
    char text[80];

    printf("getsockname %s\n", result(getsockname(sock, &own.any, &size)));
    printf("size %s\n", size == size_of(&own) ? "right" : "wrong");
    printf("port %s\n", own.v4.sin_port ? "given" : "none");
    size = sizeof peer;
    if (getpeername(sock, &peer.any, &size))
        printf("peer %s\n", result(-1));
    else
        printf("peer %s\n", text_of(&peer, text, sizeof text));
}

static int pending(int sock)
{
    int error = -1;
    socklen_t size = sizeof error;

    check("getsockopt", getsockopt(sock, SOL_SOCKET, SO_ERROR, &error, &size));
    return error;
}

static int wait_for(int sock)
{
    struct pollfd one = {.fd = sock, .events = POLLOUT};

    printf("poll %ld\n", check("poll", poll(&one, 1, 20000)));
    return one.revents;
}

static void blocking(int sock, const union address *peer)
{
    int error = connect(sock, &peer->any, size_of(peer));

    printf("connect %s\n", result(error));
    printf("SO_ERROR %s\n", error_name(pending(sock)));
    addresses(sock);
    if (!error)
        echo("word", sock);
}

static void non_blocking(int sock, const union address *peer)
{
    check("fcntl", fcntl(sock, F_SETFL, O_NONBLOCK));
    printf("connect %s\n", result(connect(sock, &peer->any, size_of(peer))));
    printf("events %s\n", wait_for(sock) & POLLERR ? "error" : "writable");
    int error = pending(sock);
    printf("SO_ERROR %s\n", error_name(error));
    printf("SO_ERROR %s\n", error_name(pending(sock)));
    addresses(sock);
    check("fcntl", fcntl(sock, F_SETFL, 0));
    if (!error)
        echo("word", sock);
}

static void again(int sock, const union address *peer)
{
    check("fcntl", fcntl(sock, F_SETFL, O_NONBLOCK));
    printf("first %s\n", result(connect(sock, &peer->any, size_of(peer))));
    printf("second %s\n", result(connect(sock, &peer->any, size_of(peer))));
    wait_for(sock);
    printf("third %s\n", result(connect(sock, &peer->any, size_of(peer))));
    printf("fourth %s\n", result(connect(sock, &peer->any, size_of(peer))));
}

static void bound(int sock, const union address *peer)
{
    union address own = {0}, named = {0};
    socklen_t size = sizeof named;

    own.any.sa_family = peer->any.sa_family;
    check("bind", bind(sock, &own.any, size_of(&own)));
    check("getsockname", getsockname(sock, &named.any, &size));
    blocking(sock, peer);
    size = sizeof own;
    check("getsockname", getsockname(sock, &own.any, &size));
    printf("port %s\n", own.v4.sin_port == named.v4.sin_port ? "kept" : "changed");
}

static void only(int sock, const union address *peer)
{
    int one = 1;

    check("setsockopt", setsockopt(sock, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one));
    blocking(sock, peer);
}

static void fast(int sock, const union address *peer)
{
    char answer[16];

    printf("sendto %s\n", result(sendto(sock, "ping", 4, MSG_FASTOPEN, &peer->any, size_of(peer))));
    ssize_t got = recv(sock, answer, 4, MSG_WAITALL);
    printf("answer %s\n", got == 4 ? "echoed" : result(got));
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    const char *way = arguments[1];
    union address peer = make_address(arguments[2], atoi(arguments[3]));
    bool many = !strcmp(way, "mptcp");
    int sock = socket(peer.any.sa_family, SOCK_STREAM, many ? IPPROTO_MPTCP : 0);

    if (sock < 0 && many) {
        printf("no MPTCP\n");
        return 0;
    }
    check("socket", sock);
    if (!strcmp(way, "blocking") || many)
        blocking(sock, &peer);
    else if (!strcmp(way, "non-blocking"))
        non_blocking(sock, &peer);
    else if (!strcmp(way, "again"))
        again(sock, &peer);
    else if (!strcmp(way, "bound"))
        bound(sock, &peer);
    else if (!strcmp(way, "v6only"))
        only(sock, &peer);
    else if (!strcmp(way, "fast"))
        fast(sock, &peer);
    else
        return 2;
    return 0;
}
