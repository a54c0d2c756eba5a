/* floor CALL PROGRAM ARGS: run a program with a filter that notifies us of one call, and let the kernel run it:
   what a trap costs at least, with the filter's and the wake-ups' time alone. CALL "none": a filter that allows all. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1UL
#endif

static const struct { const char *name; int number; } calls[] = {
    {"none", -1}, {"openat", SYS_openat}, {"newfstatat", SYS_newfstatat}, {"connect", SYS_connect},
    {"sendmsg", SYS_sendmsg}, {"recvmsg", SYS_recvmsg},
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int number_of(const char *name)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(name, calls[i].name))
            return calls[i].number;
    fprintf(stderr, "unknown call: %s\n", name);
    exit(2);
}

static int load(int first, int second)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    int listener;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        die("prctl");
    listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0)
        die("seccomp");
    return listener;
}

static void serve(int listener)
{
    static struct seccomp_notif call;
    struct seccomp_notif_resp answer = {.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    for (;;) {
        memset(&call, 0, sizeof call);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) {
            if (waitpid(-1, NULL, WNOHANG) > 0)
                exit(0);
            continue;
        }
        answer.id = call.id;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

int main(int argc, char **argv)
{
    int first, second, program, listener, theirs, pair[2];
    char *comma;

    if (argc < 3)
        return 2;
    comma = strchr(argv[1], ',');
    if (comma)
        *comma = 0;
    first = number_of(argv[1]);
    second = comma ? number_of(comma + 1) : first;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        die("socketpair");
    program = fork();
    if (program == 0) {
        theirs = load(first, second);
        if (write(pair[0], &theirs, sizeof theirs) < 0 || read(pair[0], &theirs, 1) < 0)
            die("parent");
        execvp(argv[2], argv + 2);
        die("exec");
    }
    if (read(pair[1], &theirs, sizeof theirs) != sizeof theirs)
        return 1;
    listener = syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, program, 0), theirs, 0);
    if (listener < 0 || write(pair[1], "", 1) < 0)
        die("pidfd_getfd");
    serve(listener);
}
