/* What the probes share: addresses from text, and results as `name=value` lines with errnos by name. */
#ifndef PROBE_H
#define PROBE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct address {
    struct sockaddr_storage storage;
    socklen_t size;
};

/* Ends the program with a sentence when `result` says that a preparation failed. */
static inline long must(long result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(70);
    }
    return result;
}

static inline struct address address_of(const char *host, const char *port)
{
    struct address address = {.size = sizeof(struct sockaddr_in)};
    struct sockaddr_in *four = (struct sockaddr_in *)&address.storage;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address.storage;
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)atoi(port));
    } else if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)atoi(port));
        address.size = sizeof *six;
    } else {
        fprintf(stderr, "not an address: %s\n", host);
        exit(64);
    }
    return address;
}

/* Formats `HOST PORT`; the port is left out when `with_port` is 0, because it is another each time. */
static inline const char *text_of(const struct sockaddr_storage *storage, int with_port, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN];
    const struct sockaddr_in *four = (const struct sockaddr_in *)storage;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)storage;
    int is_six = storage->ss_family == AF_INET6;
    inet_ntop(storage->ss_family, is_six ? (const void *)&six->sin6_addr : &four->sin_addr, host, sizeof host);
    unsigned port = ntohs(is_six ? six->sin6_port : four->sin_port);
    if (with_port)
        snprintf(text, size, "%s %u", host, port);
    else
        snprintf(text, size, "%s %s", host, port ? "a port" : "no port");
    return text;
}

static inline const char *result_name(long result)
{
    return result < 0 ? strerrorname_np(errno) : "0";
}

static inline void report(const char *name, long result)
{
    printf("%s=%s\n", name, result_name(result));
}

#endif
