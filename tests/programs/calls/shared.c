/* shared WAY HOST PORT: a connection that another process made. clone: by a shared descriptor table; pass: over
   SCM_RIGHTS; inherit: through fork. */
#include "calls.h"
#include <sched.h>

static const char *host;
static int port, connection;

static int in_clone(void *nothing)
{
    (void)nothing;
    connection = connect_to(host, port);
    return 0;
}

static void by_clone(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    int status;
    pid_t child = check("clone", clone(in_clone, stack + sizeof stack, CLONE_VM | CLONE_FILES | SIGCHLD, NULL));

    check("waitpid", waitpid(child, &status, 0));
    echo("clone", connection);
}

struct rights {
    char data, room[CMSG_SPACE(sizeof(int))];
    struct iovec part;
    struct msghdr message;
};

static struct cmsghdr *prepare(struct rights *rights)
{
    rights->part = (struct iovec){&rights->data, 1};
    rights->message = (struct msghdr){
        .msg_iov = &rights->part, .msg_iovlen = 1, .msg_control = rights->room, .msg_controllen = sizeof rights->room};
    return CMSG_FIRSTHDR(&rights->message);
}

static void by_passing(void)
{
    int pair[2];
    struct rights rights = {0};
    struct cmsghdr *control = prepare(&rights);

    check("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    if (check("fork", fork()) == 0) {
        int sock = connect_to(host, port);
        *control = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof sock), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(control), &sock, sizeof sock);
        check("sendmsg", sendmsg(pair[0], &rights.message, 0));
        _exit(0);
    }
    check("recvmsg", recvmsg(pair[1], &rights.message, 0));
    wait(NULL);
    memcpy(&connection, CMSG_DATA(CMSG_FIRSTHDR(&rights.message)), sizeof connection);
    echo("pass", connection);
}

static void by_fork(void)
{
    connection = connect_to(host, port);
    fflush(stdout);
    if (check("fork", fork()) == 0) {
        echo("child", connection);
        exit(0);
    }
    wait(NULL);
    echo("parent", connection);
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    host = arguments[2];
    port = atoi(arguments[3]);
    if (!strcmp(arguments[1], "clone"))
        by_clone();
    else if (!strcmp(arguments[1], "pass"))
        by_passing();
    else
        by_fork();
    return 0;
}
