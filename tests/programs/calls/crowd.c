/* crowd COUNT PATH HOST PORT: COUNT processes, all alive at once, each opens a remote file and connects. */
#include "calls.h"

static bool one(const char *path, const char *host, int port, int gate)
{
    char data[64], answer[8];
    ssize_t begun = read(gate, data, 1); /* returns when the parent closes the gate */
    int file = open(path, O_RDONLY);
    union address peer = make_address(host, port);
    int sock = socket(peer.any.sa_family, SOCK_STREAM, 0);

    return begun == 0 && file >= 0 && read(file, data, sizeof data) > 0 &&
           connect(sock, &peer.any, size_of(&peer)) == 0 && write(sock, "ping", 4) == 4 &&
           recv(sock, answer, 4, MSG_WAITALL) == 4;
}

int main(int count, char **arguments)
{
    int gate[2], status, good = 0, crowd = atoi(arguments[1]);

    if (count != 5)
        return 2;
    check("pipe", pipe(gate));
    for (int i = 0; i < crowd; i++)
        if (check("fork", fork()) == 0) {
            close(gate[1]);
            _exit(one(arguments[2], arguments[3], atoi(arguments[4]), gate[0]) ? 0 : 1);
        }
    close(gate[1]);
    while (wait(&status) > 0)
        good += status == 0;
    printf("good %d\n", good);
    return 0;
}
