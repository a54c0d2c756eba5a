/* flood HOST PORT: writes until the connection takes no more, and tells how much that was. */
#include "calls.h"

int main(int count, char **arguments)
{
    static char piece[1 << 16];
    long long total = 0;

    if (count != 3)
        return 2;
    int sock = connect_to(arguments[1], atoi(arguments[2]));
    check("fcntl", fcntl(sock, F_SETFL, O_NONBLOCK));
    for (;;) {
        struct pollfd one = {.fd = sock, .events = POLLOUT};
        if (poll(&one, 1, 1000) == 0)
            break;
        total += check("write", write(sock, piece, sizeof piece));
    }
    printf("full after %lld MiB\n", total >> 20);
    fflush(stdout);
    check("read", read(0, piece, 1));
    return 0;
}
