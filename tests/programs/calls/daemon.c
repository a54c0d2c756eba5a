/* daemon FILE: leaves a daemonised grandchild behind, whose pid it writes to FILE. With `wait` as a second
   argument the program itself stays too. */
#include "calls.h"

int main(int count, char **arguments)
{
    int told[2];
    char byte;

    if (count < 2)
        return 2;
    check("pipe", pipe(told));
    if (check("fork", fork()) == 0) {
        check("setsid", setsid());
        if (check("fork", fork()) > 0)
            _exit(0);
        FILE *file = fopen(arguments[1], "w");
        fprintf(file, "%d\n", getpid());
        fclose(file);
        check("write", write(told[1], "", 1));
        int null = open("/dev/null", O_RDWR);
        for (int descriptor = 0; descriptor < 3; descriptor++)
            dup2(null, descriptor);
        for (;;)
            pause();
    }
    check("read", read(told[0], &byte, 1));
    printf("ready\n");
    fflush(stdout);
    wait(NULL);
    if (count > 2)
        for (;;)
            pause();
    return 0;
}
