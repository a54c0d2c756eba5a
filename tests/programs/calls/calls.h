/* What the programs of this folder share. Each prints what it found, one finding to a line; a test compares. */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static inline const char *error_name(int error)
{
    return error ? strerrorname_np(error) : "ok";
}

__attribute__((noreturn)) static inline void die(const char *what)
{
    printf("%s: %s\n", what, error_name(errno));
    exit(1);
}

static inline long check(const char *what, long value)
{
    if (value < 0)
        die(what);
    return value;
}

/* The name of the error of a call that failed, "ok" for one that did not. */
static inline const char *result(long value)
{
    return error_name(value < 0 ? errno : 0);
}

static inline socklen_t size_of(const union address *address)
{
    return address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

static inline union address make_address(const char *host, int port)
{
    union address address = {0};

    if (strchr(host, ':')) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        if (inet_pton(AF_INET6, host, &address.v6.sin6_addr) != 1)
            die(host);
    } else {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        if (inet_pton(AF_INET, host, &address.v4.sin_addr) != 1)
            die(host);
    }
    return address;
}

static inline const char *text_of(const union address *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN];

    if (address->any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
    else
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
    snprintf(text, size, "%s %d", host, ntohs(address->v4.sin_port));
    return text;
}

static inline int connect_to(const char *host, int port)
{
    union address peer = make_address(host, port);
    int sock = check("socket", socket(peer.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));

    check("connect", connect(sock, &peer.any, size_of(&peer)));
    return sock;
}

/* Sends a word to an echo service and prints whether it came back. */
static inline void echo(const char *who, int sock)
{
    char answer[16] = "";

    check("write", write(sock, "ping", 4));
    ssize_t got = recv(sock, answer, 4, MSG_WAITALL);
    printf("%s %s\n", who, got == 4 && !memcmp(answer, "ping", 4) ? "echoed" : result(got));
}

static inline double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static inline void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    check("sigaction", sigaction(number, &action, NULL));
}

static inline void alarm_in(double first, double every)
{
    struct itimerval timer = {
        .it_value = {.tv_sec = first, .tv_usec = (first - (long)first) * 1e6},
        .it_interval = {.tv_sec = every, .tv_usec = (every - (long)every) * 1e6},
    };

    check("setitimer", setitimer(ITIMER_REAL, &timer, NULL));
}

static inline void first_line_of(const char *path)
{
    char line[4096];
    int file = check(path, open(path, O_RDONLY | O_CLOEXEC));
    ssize_t got = check("read", read(file, line, sizeof line - 1));

    line[got] = 0;
    line[strcspn(line, "\n")] = 0;
    printf("%s\n", line);
    close(file);
}
