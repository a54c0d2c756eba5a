/* The program of ../main.go, for machines without Go. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATH "/app/config.yaml"
#define NAME "echo.default.svc.cluster.local"
#define PAGE "http://echo/"

static char text[4096];

static void show(const char *what, const char *found, const char *why)
{
    if (found)
        printf("  %-31s %.45s\n", what, found);
    else
        printf("  %-31s -  (%.40s)\n", what, why);
}

static char *first_line(FILE *from)
{
    if (!from || !fgets(text, sizeof text, from))
        return NULL;
    text[strcspn(text, "\r\n")] = 0;
    return text;
}

static struct addrinfo *resolve(const char *name, const char **why)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    int failed = getaddrinfo(name, "80", &hints, &found);

    *why = failed ? gai_strerror(failed) : NULL;
    return failed ? NULL : found;
}

static void show_address(void)
{
    const char *why, *found = NULL;
    struct addrinfo *address = resolve(NAME, &why);

    if (address)
        found = inet_ntop(AF_INET, &((struct sockaddr_in *)address->ai_addr)->sin_addr, text, sizeof text);
    show(NAME, found, why);
}

/* The service describes the request in JSON, a member to a line. */
static char *who_answers(FILE *stream)
{
    static char result[160];
    char server[64] = "", peer[64] = "";

    while (first_line(stream)) {
        sscanf(text, " \"server\": \"%63[^\"]", server);
        sscanf(text, " \"peer\": \"%63[^\"]", peer);
    }
    snprintf(result, sizeof result, "%s answers %s", server, peer);
    return *peer ? result : NULL;
}

static void show_answer(void)
{
    const char *why;
    struct addrinfo *address = resolve("echo", &why);
    int fd = address ? socket(AF_INET, SOCK_STREAM, 0) : -1;
    FILE *stream = NULL;

    if (fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        stream = fdopen(fd, "r+");
    if (!stream) {
        show(PAGE, NULL, address ? strerror(errno) : why);
        return;
    }
    fputs("GET / HTTP/1.0\r\nHost: echo\r\n\r\n", stream);
    fflush(stream);
    show(PAGE, who_answers(stream), "no answer");
}

int main(void)
{
    char host[256] = "";
    FILE *config = fopen(PATH, "r");
    int failed = errno;

    gethostname(host, sizeof host - 1);
    show("host name", host, NULL);
    show("$GREETING", getenv("GREETING"), "not set");
    show(PATH, first_line(config), strerror(failed));
    show_address();
    show_answer();
    return 0;
}
