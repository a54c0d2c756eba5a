/* range PATH HOST PORT: closes every descriptor from 3 up, as daemons do, and goes on; and finds no descriptor
   of mirrord's before it did. */
#include "calls.h"
#include <dirent.h>

static int descriptors(void)
{
    DIR *list = opendir("/proc/self/fd");
    int found = 0;

    while (readdir(list))
        found++;
    closedir(list);
    return found - 3; /* ".", ".." and the directory itself */
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    printf("descriptors %d\n", descriptors());
    int sock = connect_to(arguments[2], atoi(arguments[3]));
    printf("close_range %s\n", result(syscall(SYS_close_range, 3, ~0U, 0)));
    printf("closed %s\n", result(fcntl(sock, F_GETFD)));
    first_line_of(arguments[1]);
    echo("word", connect_to(arguments[2], atoi(arguments[3])));
    return 0;
}
