/* unix PATH: a remote unix stream that echoes. */
#include "calls.h"
#include <sys/un.h>

int main(int count, char **arguments)
{
    struct sockaddr_un peer = {.sun_family = AF_UNIX};
    int sock = check("socket", socket(AF_UNIX, SOCK_STREAM, 0));

    if (count != 2)
        return 2;
    strncpy(peer.sun_path, arguments[1], sizeof peer.sun_path - 1);
    check("connect", connect(sock, (struct sockaddr *)&peer, sizeof peer));
    echo("word", sock);
    return 0;
}
