/* blocked connect|receive plain|restart HOST PORT: a call that blocks, and the alarm that comes meanwhile.
   Plain: the call gives EINTR. Restart: it goes on after the handler, until a second signal, without SA_RESTART,
   ends it. "prompt" is a handler that ran within 100 ms of its timer. */
#include "calls.h"

static volatile sig_atomic_t alarms, ends;
static volatile double ran;

static void note(int number)
{
    if (!ran)
        ran = now();
    if (number == SIGALRM)
        alarms++;
    else
        ends++;
}

static void end_later(double seconds)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec when = {.it_value = {.tv_sec = seconds, .tv_nsec = (seconds - (long)seconds) * 1e9}};
    timer_t timer;

    check("timer_create", timer_create(CLOCK_MONOTONIC, &event, &timer));
    check("timer_settime", timer_settime(timer, 0, &when, NULL));
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    bool restart = !strcmp(arguments[2], "restart");
    bool connecting = !strcmp(arguments[1], "connect");
    union address peer = make_address(arguments[3], atoi(arguments[4]));
    int sock = check("socket", socket(peer.any.sa_family, connecting ? SOCK_STREAM : SOCK_DGRAM, 0));
    char data[16];

    if (!connecting) /* a remote socket that nobody answers: the peer takes the word and is silent */
        check("sendto", sendto(sock, "x", 1, 0, &peer.any, size_of(&peer)));
    handle(SIGALRM, note, restart ? SA_RESTART : 0);
    handle(SIGUSR1, note, 0);
    double due = now() + 0.3;
    alarm_in(0.3, 0);
    if (restart)
        end_later(0.8);
    long value = connecting ? connect(sock, &peer.any, size_of(&peer)) : recvfrom(sock, data, sizeof data, 0, NULL, NULL);
    printf("%s\nalarms %d\nends %d\n", result(value), (int)alarms, (int)ends);
    printf("%s\n", ran - due < 0.1 ? "prompt" : "late");
    printf("%s\n", now() - due < (restart ? 0.6 : 0.1) ? "prompt" : "late");
    return 0;
}
