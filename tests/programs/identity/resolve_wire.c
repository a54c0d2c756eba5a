/* Resolves by hand, since a static program cannot load glibc's resolver modules: one UDP question (RFC 1035)
 * to the first name server of /etc/resolv.conf for each name that its search list makes. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "resolve.h"

static struct in_addr server;
static char search[512];

static void read_configuration(void)
{
    char line[512], address[64];
    FILE *file = fopen("/etc/resolv.conf", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (!server.s_addr && sscanf(line, "nameserver %63s", address) == 1)
            inet_pton(AF_INET, address, &server);
        if (!strncmp(line, "search ", 7))
            strcpy(search, line + 7);
    }
    if (file)
        fclose(file);
}

static size_t write_question(const char *name, uint8_t *out)
{
    static const uint8_t header[12] = {0x4d, 0x49, 1, 0, 0, 1}, tail[5] = {0, 0, 1, 0, 1};
    uint8_t *at = out + sizeof header;
    memcpy(out, header, sizeof header);
    while (*name) {
        size_t length = strcspn(name, ".");
        *at++ = (uint8_t)length;
        memcpy(at, name, length);
        at += length;
        name += length + (name[length] == '.');
    }
    memcpy(at, tail, sizeof tail);
    return (size_t)(at - out) + sizeof tail;
}

static size_t skip_name(const uint8_t *message, size_t at, size_t size)
{
    while (at < size && message[at] && message[at] < 0xc0)
        at += message[at] + 1u;
    return at + (at < size && message[at] >= 0xc0 ? 2 : 1);
}

static size_t read_answers(const uint8_t *message, size_t size, size_t at, struct in_addr *found, size_t most)
{
    size_t count = 0;
    for (int left = message[6] << 8 | message[7]; left > 0 && at + 12 <= size; left--) {
        at = skip_name(message, at, size);
        if (at + 10 > size)
            break;
        unsigned type = message[at] << 8 | message[at + 1], length = message[at + 8] << 8 | message[at + 9];
        at += 10;
        if (type == 1 && length == 4 && at + 4 <= size && count < most)
            memcpy(&found[count++], message + at, 4);
        at += length;
    }
    return count;
}

static size_t ask(const char *name, struct in_addr *found, size_t most)
{
    uint8_t message[1500];
    struct timeval patience = {.tv_sec = 5};
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = server};
    size_t length = write_question(name, message), count = 0;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (!connect(fd, (struct sockaddr *)&peer, sizeof peer) && send(fd, message, length, 0) > 0) {
        ssize_t size = recv(fd, message, sizeof message, 0);
        if (size > 12)
            count = read_answers(message, (size_t)size, length, found, most);
    }
    close(fd);
    return count;
}

size_t resolve(const char *name, struct in_addr *found, size_t most)
{
    char list[512], full[768], *rest = list, *suffix;
    size_t count;
    read_configuration();
    if (!server.s_addr)
        return 0;
    if (strchr(name, '.'))
        return ask(name, found, most);
    strcpy(list, search);
    while ((suffix = strtok_r(rest, " \t\n", &rest))) {
        snprintf(full, sizeof full, "%s.%s", name, suffix);
        if ((count = ask(full, found, most)))
            return count;
    }
    return 0;
}
