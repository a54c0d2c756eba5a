/* One thread opens a file that may be slow; once it is on its way, the main one opens another 1,000 times.
 * Prints `started`, then `local N` as soon as these are done, and `slow N` (bytes read) when the slow one is.
 * Arguments: SLOW-PATH LOCAL-PATH. */
#include "probe.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_int about_to_open;

static void *open_slow(void *path)
{
    char data[64];
    about_to_open = 1;
    int fd = open(path, O_RDONLY);
    printf("slow %zd\n", fd < 0 ? (ssize_t)-errno : read(fd, data, sizeof data));
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t slow;
    int opened = 0;
    if (count != 3)
        return 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_create(&slow, NULL, open_slow, arguments[1]);
    while (!about_to_open)
        continue;
    puts("started");
    for (int round = 0; round < 1000; round++) {
        int fd = open(arguments[2], O_RDONLY);
        opened += fd >= 0;
        close(fd);
    }
    printf("local %d\n", opened);
    pthread_join(slow, NULL);
    return 0;
}
