/* datagrams WAY HOST PORT HOST PORT: words to two peers over one socket, and who answered what. */
#include "calls.h"

static const char *const words[] = {"one", "two"};

static void show(const char *data, ssize_t got, const union address *from)
{
    char text[80];

    if (got < 0)
        die("receive");
    printf("%.*s from %s\n", (int)got, data, text_of(from, text, sizeof text));
}

static void by_sendto(int sock, union address *peers)
{
    for (int i = 0; i < 2; i++) {
        union address from;
        socklen_t size = sizeof from;
        char data[64];
        check("sendto", sendto(sock, words[i], 3, 0, &peers[i].any, size_of(&peers[i])));
        show(data, recvfrom(sock, data, sizeof data, 0, &from.any, &size), &from);
    }
}

static struct msghdr header(union address *address, struct iovec *part, void *data, size_t size)
{
    *part = (struct iovec){data, size};
    return (struct msghdr){.msg_name = address, .msg_namelen = size_of(address), .msg_iov = part, .msg_iovlen = 1};
}

static void by_sendmsg(int sock, union address *peers)
{
    for (int i = 0; i < 2; i++) {
        union address from = peers[i];
        struct iovec part;
        char data[64];
        struct msghdr message = header(&peers[i], &part, (void *)words[i], 3);
        check("sendmsg", sendmsg(sock, &message, 0));
        message = header(&from, &part, data, sizeof data);
        show(data, recvmsg(sock, &message, 0), &from);
    }
}

static int by_port(const void *one, const void *other)
{
    return strcmp(one, other);
}

static void by_sendmmsg(int sock, union address *peers)
{
    struct mmsghdr messages[2] = {0};
    struct iovec parts[2];
    union address from[2] = {peers[0], peers[1]};
    char data[2][64], lines[2][160], text[80];

    for (int i = 0; i < 2; i++)
        messages[i].msg_hdr = header(&peers[i], &parts[i], (void *)words[i], 3);
    printf("sent %ld\n", check("sendmmsg", sendmmsg(sock, messages, 2, 0)));
    for (int i = 0; i < 2; i++)
        messages[i].msg_hdr = header(&from[i], &parts[i], data[i], sizeof data[i]);
    printf("received %ld\n", check("recvmmsg", recvmmsg(sock, messages, 2, 0, NULL)));
    for (int i = 0; i < 2; i++) /* the two answers may overtake each other */
        snprintf(lines[i], sizeof lines[i], "%.*s from %s", (int)messages[i].msg_len, data[i],
                 text_of(&from[i], text, sizeof text));
    qsort(lines, 2, sizeof lines[0], by_port);
    printf("%s\n%s\n", lines[0], lines[1]);
}

static void by_connect(int sock, union address *peers)
{
    for (int i = 0; i < 2; i++) {
        union address peer;
        socklen_t size = sizeof peer;
        char data[64];
        check("connect", connect(sock, &peers[i].any, size_of(&peers[i])));
        check("getpeername", getpeername(sock, &peer.any, &size));
        check("send", send(sock, words[i], 3, 0));
        show(data, recv(sock, data, sizeof data, 0), &peer);
    }
}

static void refused(int sock, union address *peers)
{
    char data[64];

    check("connect", connect(sock, &peers[0].any, size_of(&peers[0])));
    check("send", send(sock, "x", 1, 0));
    printf("recv %s\n", result(recv(sock, data, sizeof data, 0)));
}

int main(int count, char **arguments)
{
    if (count != 6)
        return 2;
    const char *way = arguments[1];
    union address peers[2] = {make_address(arguments[2], atoi(arguments[3])),
                              make_address(arguments[4], atoi(arguments[5]))};
    int sock = check("socket", socket(peers[0].any.sa_family, SOCK_DGRAM, 0));
    struct timeval patience = {.tv_sec = 20};

    check("setsockopt", setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience));
    if (!strcmp(way, "sendto"))
        by_sendto(sock, peers);
    else if (!strcmp(way, "sendmsg"))
        by_sendmsg(sock, peers);
    else if (!strcmp(way, "sendmmsg"))
        by_sendmmsg(sock, peers);
    else if (!strcmp(way, "connect"))
        by_connect(sock, peers);
    else if (!strcmp(way, "refused"))
        refused(sock, peers);
    else
        return 2;
    return 0;
}
