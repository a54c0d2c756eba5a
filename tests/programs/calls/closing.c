/* closing WAY HOST PORT: one end of each way to end a connection; the other is tests/support/peer.py. */
#include "calls.h"

static char block[65536];

static void read_all(int sock)
{
    long total = 0;
    ssize_t got;

    while ((got = read(sock, block, sizeof block)) > 0)
        total += got;
    printf("read %ld then %s\n", total, got ? result(got) : "end");
}

static void write_all(int sock, long size)
{
    while (size > 0)
        size -= check("write", write(sock, block, size < (long)sizeof block ? size : (long)sizeof block));
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    const char *way = arguments[1];
    int sock = connect_to(arguments[2], atoi(arguments[3]));

    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(way, "half-close")) { /* we end, they answer */
        write_all(sock, 1000000);
        printf("shutdown %s\n", result(shutdown(sock, SHUT_WR)));
        read_all(sock);
    } else if (!strcmp(way, "their-half-close")) { /* they end, we go on */
        read_all(sock);
        write_all(sock, 1000000);
        close(sock);
    } else if (!strcmp(way, "reset")) { /* we reset */
        struct linger now = {.l_onoff = 1};
        check("read", read(sock, block, 1));
        check("setsockopt", setsockopt(sock, SOL_SOCKET, SO_LINGER, &now, sizeof now));
        close(sock);
    } else if (!strcmp(way, "their-reset")) {
        check("write", write(sock, "x", 1));
        read_all(sock);
        printf("write %s\n", result(write(sock, "x", 1)));
    } else {
        return 2;
    }
    return 0;
}
