/* Leaves a daemon behind: a grandchild in a session of its own, which writes its id to a file and then asks for
 * the host name once a second for ever. With `stay` the program itself waits for a signal too. Arguments: FILE [stay]. */
#include "probe.h"

#include <fcntl.h>

static void serve(const char *path)
{
    char host[256], line[300];
    int fd = (int)must(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644), path);
    int null = (int)must(open("/dev/null", O_RDWR), "/dev/null");
    for (int stream = 0; stream < 3; stream++)
        dup2(null, stream);
    must(gethostname(host, sizeof host), "gethostname");
    int length = snprintf(line, sizeof line, "%d %s\n", (int)getpid(), host);
    must(write(fd, line, (size_t)length), "write");
    close(fd);
    for (;;) {
        sleep(1);
        gethostname(host, sizeof host);
    }
}

int main(int count, char **arguments)
{
    if (count < 2)
        return 64;
    if (must(fork(), "fork") == 0) {
        setsid();
        if (must(fork(), "fork") == 0)
            serve(arguments[1]);
        _exit(0);
    }
    if (count > 2)
        pause();
    return 0;
}
