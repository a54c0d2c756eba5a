/* Prints what this program sees of its pod. Dynamic glibc, and static musl: both have their own resolver. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "report.h"

#define HOST "echo.default.svc.cluster.local"

int main(void)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(HOST, "80", &hints, &found);
    if (error) {
        fprintf(stderr, "getaddrinfo: %s\n", gai_strerror(error));
        return 1;
    }
    return report(HOST, ((struct sockaddr_in *)found->ai_addr)->sin_addr);
}
