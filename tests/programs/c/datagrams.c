/* Sends a datagram to each of several peers from one socket, and prints who answers what.
 * Arguments: WAY PORT HOST...; ways: sendto, sendmsg, sendmmsg, connected, reconnected. */
#include "probe.h"

#include <sys/time.h>
#include <sys/uio.h>

#define MOST 8
#define SIZE 128

static struct address peers[MOST];
static char payloads[MOST][SIZE];
static unsigned count;

static int is(const char *way, const char *name)
{
    return !strcmp(way, name);
}

static int make_socket(void)
{
    struct timeval patience = {.tv_sec = 20};
    int fd = (int)must(socket(peers[0].storage.ss_family, SOCK_DGRAM, 0), "socket");
    must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), "SO_RCVTIMEO");
    return fd;
}

static struct msghdr header_of(struct iovec *part, void *name, socklen_t size)
{
    struct msghdr header = {.msg_name = name, .msg_namelen = size, .msg_iov = part, .msg_iovlen = 1};
    return header;
}

static void send_all(int fd, const char *way)
{
    struct mmsghdr headers[MOST];
    struct iovec parts[MOST];
    memset(headers, 0, sizeof headers);
    for (unsigned at = 0; at < count; at++) {
        parts[at] = (struct iovec){payloads[at], strlen(payloads[at])};
        headers[at].msg_hdr = header_of(&parts[at], &peers[at].storage, peers[at].size);
        if (is(way, "sendto"))
            must(sendto(fd, payloads[at], strlen(payloads[at]), 0, (struct sockaddr *)&peers[at].storage, peers[at].size),
                 "sendto");
        else if (is(way, "sendmsg"))
            must(sendmsg(fd, &headers[at].msg_hdr, 0), "sendmsg");
    }
    if (is(way, "sendmmsg")) {
        must(sendmmsg(fd, headers, count, 0), "sendmmsg");
        for (unsigned at = 0; at < count; at++)
            fprintf(stderr, "sent %u\n", headers[at].msg_len);
    }
}

static int compare(const void *left, const void *right)
{
    return strcmp(left, right);
}

static void describe(char *line, const struct sockaddr_storage *source, socklen_t size, const char *data, long length)
{
    char text[80];
    snprintf(line, 2 * SIZE, "%s size=%u: %.*s", text_of(source, 1, text, sizeof text), size, (int)length, data);
}

/* Receives as many as were sent and prints them in order of their sources. */
static void receive_all(int fd, const char *way)
{
    static char lines[MOST][2 * SIZE], buffers[MOST][SIZE];
    struct sockaddr_storage sources[MOST];
    struct mmsghdr headers[MOST];
    struct iovec parts[MOST];
    unsigned got = 0;
    memset(sources, 0, sizeof sources);
    memset(headers, 0, sizeof headers);
    while (got < count) {
        socklen_t size = sizeof sources[got];
        parts[got] = (struct iovec){buffers[got], SIZE};
        headers[got].msg_hdr = header_of(&parts[got], &sources[got], size);
        if (is(way, "sendto")) {
            long length = must(recvfrom(fd, buffers[got], SIZE, 0, (struct sockaddr *)&sources[got], &size), "recvfrom");
            describe(lines[got], &sources[got], size, buffers[got], length);
        } else if (is(way, "sendmsg")) {
            long length = must(recvmsg(fd, &headers[got].msg_hdr, 0), "recvmsg");
            describe(lines[got], &sources[got], headers[got].msg_hdr.msg_namelen, buffers[got], length);
        } else {
            must(recvmmsg(fd, &headers[got], 1, MSG_WAITFORONE, NULL), "recvmmsg");
            describe(lines[got], &sources[got], headers[got].msg_hdr.msg_namelen, buffers[got], headers[got].msg_len);
        }
        got++;
    }
    qsort(lines, count, sizeof *lines, compare);
    for (unsigned at = 0; at < count; at++)
        puts(lines[at]);
}

static void print_peer(int fd)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    char text[80];
    if (getpeername(fd, (struct sockaddr *)&name, &size))
        report("peer", -1);
    else
        printf("peer=%s\n", text_of(&name, 1, text, sizeof text));
}

/* One peer after another on one connected socket, with send and recv, which carry no address. */
static void talk_connected(int fd)
{
    struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
    char answer[SIZE];
    for (unsigned at = 0; at < count; at++) {
        report("connect", connect(fd, (struct sockaddr *)&peers[at].storage, peers[at].size));
        print_peer(fd);
        must(send(fd, payloads[at], strlen(payloads[at]), 0), "send");
        long length = recv(fd, answer, SIZE, 0);
        printf("answer=%s %.*s\n", result_name(length), length < 0 ? 0 : (int)length, answer);
    }
    report("disconnect", connect(fd, &unspecified, sizeof unspecified));
    print_peer(fd);
}

int main(int arguments, char **values)
{
    if (arguments < 4)
        return 64;
    for (int at = 3; at < arguments && count < MOST; at++, count++) {
        peers[count] = address_of(values[at], values[2]);
        snprintf(payloads[count], SIZE, "for %s", values[at]);
    }
    int fd = make_socket();
    if (is(values[1], "connected")) {
        talk_connected(fd);
    } else {
        send_all(fd, values[1]);
        receive_all(fd, values[1]);
    }
    return 0;
}
