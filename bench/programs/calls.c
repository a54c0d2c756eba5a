/* calls WAY COUNT FILE: make one kind of call COUNT times and print how long each took:
   "median S", "p99 S", "mean S", in seconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define UNTRAPPED_AT_ONCE 100

static const char *path;
static int one, other, listener;
static struct sockaddr_un own;
static struct sockaddr_in loopback;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void do_openat(void)
{
    one = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (one < 0)
        die("openat");
}

static void after_openat(void)
{
    close(one);
}

static void do_stat(void)
{
    struct stat status;

    if (fstatat(AT_FDCWD, path, &status, 0))
        die("fstatat");
}

/* a unix socket: an IP address would be the pod's, 127.0.0.1 included */
static void prepare_connect(void)
{
    own.sun_family = AF_UNIX;
    snprintf(own.sun_path, sizeof own.sun_path, "/tmp/mirrord-bench-%d", getpid());
    one = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    other = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(other, (struct sockaddr *)&own, sizeof own))
        die("bind");
}

static void do_connect(void)
{
    if (connect(one, (struct sockaddr *)&own, sizeof own))
        die("connect");
}

static void listen_here(void)
{
    socklen_t size = sizeof loopback;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    loopback.sin_family = AF_INET;
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&loopback, sizeof loopback) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&loopback, &size))
        die("listen");
}

static void do_connect_own(void)
{
    one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(one, (struct sockaddr *)&loopback, sizeof loopback))
        die("connect");
}

static void after_connect_own(void)
{
    other = accept(listener, NULL, NULL);
    close(one);
    close(other);
}

static void prepare_file(void)
{
    do_openat();
    other = open("/dev/zero", O_RDONLY | O_CLOEXEC);
}

static void do_lseek(void)
{
    for (int i = 0; i < UNTRAPPED_AT_ONCE; i++)
        lseek(one, 0, SEEK_CUR);
}

static void do_read(void)
{
    static char room[4096];

    for (int i = 0; i < UNTRAPPED_AT_ONCE; i++)
        if (read(other, room, sizeof room) != sizeof room)
            die("read");
}

static void prepare_messages(void)
{
    int on = 1;

    listen_here();
    do_connect_own();
    other = accept(listener, NULL, NULL);
    setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* what a gRPC library does for a small call: frame head, message head, message */
static void do_messages(void)
{
    static char head[9], prefix[5], body[100], room[4096];
    struct iovec out[] = {{head, sizeof head}, {prefix, sizeof prefix}, {body, sizeof body}};
    struct iovec in = {room, sizeof room};
    struct msghdr sent = {.msg_iov = out, .msg_iovlen = 3}, got = {.msg_iov = &in, .msg_iovlen = 1};

    if (sendmsg(one, &sent, MSG_NOSIGNAL) < 0 || recvmsg(other, &got, 0) < 0)
        die("sendmsg, recvmsg");
}

static void nothing(void)
{
}

static const struct way {
    const char *name;
    void (*prepare)(void), (*call)(void), (*after)(void);
    int at_once;
} ways[] = {
    {"openat", nothing, do_openat, after_openat, 1},
    {"stat", nothing, do_stat, nothing, 1},
    {"connect", prepare_connect, do_connect, nothing, 1},
    {"connect-own", listen_here, do_connect_own, after_connect_own, 1},
    {"lseek", prepare_file, do_lseek, nothing, UNTRAPPED_AT_ONCE},
    {"read", prepare_file, do_read, nothing, UNTRAPPED_AT_ONCE},
    {"messages", prepare_messages, do_messages, nothing, 1},
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    const struct way *way = ways;
    int count = argc > 3 ? atoi(argv[2]) : 0;
    double *took, sum = 0;

    while (argc > 3 && way < ways + sizeof ways / sizeof *ways && strcmp(way->name, argv[1]))
        way++;
    if (count <= 0 || way == ways + sizeof ways / sizeof *ways || !(took = calloc(count, sizeof *took)))
        return 2;
    path = argv[3];
    way->prepare();
    for (int i = -count / 10; i < count; i++) {
        double start = now();

        way->call();
        if (i >= 0)
            sum += took[i] = (now() - start) / way->at_once;
        way->after();
    }
    unlink(own.sun_path);
    qsort(took, count, sizeof *took, order);
    printf("median %.10f\np99 %.10f\nmean %.10f\n", took[count / 2], took[count / 100 * 99], sum / count);
    return 0;
}
