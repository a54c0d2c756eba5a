/* bad_pointer: calls with addresses that the program does not have: each is its own EFAULT. */
#include "calls.h"

int main(void)
{
    union address peer = make_address("10.96.0.20", 7);
    int sock = check("socket", socket(AF_INET, SOCK_STREAM, 0));
    void *nowhere = (void *)8;

    printf("open %s\n", result(syscall(SYS_openat, AT_FDCWD, nowhere, O_RDONLY, 0)));
    printf("stat %s\n", result(syscall(SYS_newfstatat, AT_FDCWD, "/app/config.yaml", nowhere, 0)));
    printf("connect %s\n", result(syscall(SYS_connect, sock, nowhere, sizeof peer.v4)));
    printf("uname %s\n", result(syscall(SYS_uname, nowhere)));
    return 0;
}
