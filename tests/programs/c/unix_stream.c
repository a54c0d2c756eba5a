/* Connects to a unix socket, sends a line, and prints its peer and what comes back. Arguments: PATH. */
#include "probe.h"

#include <sys/un.h>

int main(int count, char **arguments)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = sizeof name;
    char answer[8] = "";
    if (count != 2)
        return 64;
    strncpy(name.sun_path, arguments[1], sizeof name.sun_path - 1);
    int fd = (int)must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    report("connect", connect(fd, (struct sockaddr *)&name, sizeof name));
    memset(&name, 0, sizeof name);
    if (getpeername(fd, (struct sockaddr *)&name, &size))
        report("peer", -1);
    else
        printf("peer=%s\n", name.sun_path);
    report("write", write(fd, "ping", 4));
    report("read", read(fd, answer, 4));
    printf("answer=%s\n", answer);
    return 0;
}
