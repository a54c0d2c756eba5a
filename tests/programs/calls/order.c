/* order REMOTE LOCAL COUNT: one thread opens a slow remote file while the other opens a local one COUNT times.
   Prints what ended first. */
#include "calls.h"
#include <pthread.h>

static const char *remote;
static int ready[2];

static void *slow(void *nothing)
{
    check("write", write(ready[1], "", 1));
    int file = check("remote", open(remote, O_RDONLY));
    close(file);
    printf("remote\n");
    return nothing;
}

int main(int count, char **arguments)
{
    pthread_t thread;
    char byte;

    if (count != 4)
        return 2;
    remote = arguments[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    check("pipe", pipe(ready));
    pthread_create(&thread, NULL, slow, NULL);
    check("read", read(ready[0], &byte, 1));
    for (int i = atoi(arguments[3]); i > 0; i--)
        close(check("local", open(arguments[2], O_RDONLY)));
    printf("local\n");
    pthread_join(thread, NULL);
    return 0;
}
