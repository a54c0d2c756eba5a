/* attached WAY: blocks in a call, says how that ended, and then looks around for each line that it reads.
   Ways: read, poll, epoll_wait (a line ends them), accept, recvfrom (a connection or a datagram does), futex,
   nanosleep (time does); `look` blocks in nothing. A look is one line: a file, a name, a connection, the host name. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/futex.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static int port_of(int sock)
{
    struct sockaddr_in name;
    socklen_t size = sizeof name;

    return getsockname(sock, (struct sockaddr *)&name, &size) ? 0 : ntohs(name.sin_port);
}

static int served(int kind)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int sock = socket(AF_INET, kind, 0);

    if (bind(sock, (struct sockaddr *)&here, sizeof here) || (kind == SOCK_STREAM && listen(sock, 8)))
        exit(3);
    return sock;
}

static void ready(int sock)
{
    printf("ready %d\n", sock < 0 ? 0 : port_of(sock));
    fflush(stdout);
}

static long wait_in(const char *way)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct pollfd input = {.fd = 0, .events = POLLIN};
    struct timespec time = {.tv_sec = 4};
    int word = 0, sock = -1, epoll = epoll_create1(0);
    char byte;

    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
    if (!strcmp(way, "accept") || !strcmp(way, "recvfrom"))
        sock = served(!strcmp(way, "accept") ? SOCK_STREAM : SOCK_DGRAM);
    ready(sock);
    if (!strcmp(way, "read"))
        return read(0, &byte, 1);
    if (!strcmp(way, "poll"))
        return poll(&input, 1, 60000);
    if (!strcmp(way, "epoll_wait"))
        return epoll_wait(epoll, &event, 1, 60000);
    if (!strcmp(way, "accept"))
        return accept(sock, NULL, NULL) >= 0;
    if (!strcmp(way, "recvfrom"))
        return recvfrom(sock, &byte, 1, 0, NULL, NULL);
    if (!strcmp(way, "nanosleep"))
        return nanosleep(&time, NULL);
    return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &time, NULL, 0) && errno == ETIMEDOUT ? 0 : -1;
}

static void file(void)
{
    char line[256];
    FILE *stream = fopen("/app/config.yaml", "r");

    if (!stream || !fgets(line, sizeof line, stream))
        snprintf(line, sizeof line, "%s", strerrorname_np(errno));
    line[strcspn(line, "\n")] = 0;
    printf("%s ", line);
    if (stream)
        fclose(stream);
}

static void name(void)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    char text[64];

    if (getaddrinfo("echo.default.svc.cluster.local", "7", &hints, &found)) {
        printf("unknown ");
        return;
    }
    getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
    printf("%s ", text);
    freeaddrinfo(found);
}

static void connection(void)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct timeval patience = {.tv_sec = 3};
    int sock = socket(AF_INET, SOCK_STREAM, 0);

    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    inet_pton(AF_INET, "10.96.0.20", &peer.sin_addr);
    printf("%s ", connect(sock, (struct sockaddr *)&peer, sizeof peer) ? strerrorname_np(errno) : "connected");
    close(sock);
}

int main(int count, char **arguments)
{
    struct utsname host;
    char line[256];

    if (count != 2)
        return 2;
    if (!strcmp(arguments[1], "look")) {
        ready(-1);
    } else {
        long value = wait_in(arguments[1]);
        printf("%s %ld %s\n", arguments[1], value, value < 0 ? strerrorname_np(errno) : "ok");
        fflush(stdout);
    }
    while (fgets(line, sizeof line, stdin)) {
        if (line[0] != 'l')
            continue;
        file();
        name();
        connection();
        uname(&host);
        printf("%s\n", host.nodename);
        fflush(stdout);
    }
    return 0;
}
