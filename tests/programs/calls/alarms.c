/* alarms ROUNDS PATH...: opens, stats and reads each path ROUNDS times under a SIGALRM at 100 Hz whose handler
   does not restart calls. Prints how many calls failed with EINTR, with anything else, and if alarms came. */
#include "calls.h"

static volatile sig_atomic_t alarms;
static long interrupted, failed;

static void count_alarm(int number)
{
    (void)number;
    alarms++;
}

static bool good(long value)
{
    if (value < 0 && errno == EINTR)
        interrupted++;
    else if (value < 0)
        failed++;
    return value >= 0;
}

static void once(const char *path)
{
    struct stat status;
    char data[64];
    int file = open(path, O_RDONLY | O_CLOEXEC);

    if (good(file)) {
        good(read(file, data, sizeof data));
        close(file);
    }
    good(stat(path, &status));
    good(access(path, R_OK));
}

int main(int count, char **arguments)
{
    int rounds = atoi(arguments[1]);

    handle(SIGALRM, count_alarm, 0);
    alarm_in(0.01, 0.01);
    for (int round = 0; round < rounds || alarms < 5; round++)
        for (int i = 2; i < count; i++)
            once(arguments[i]);
    printf("interrupted %ld\nfailed %ld\nalarms %s\n", interrupted, failed, alarms ? "yes" : "no");
    return 0;
}
