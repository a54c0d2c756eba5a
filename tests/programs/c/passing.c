/* Connects, closes descriptors with close_range, and passes the connection to another process over a unix
 * socket (SCM_RIGHTS), which uses it. Arguments: HOST PORT. */
#include "probe.h"

#include <sys/wait.h>

static void send_fd(int channel, int fd)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {"x", 1};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memset(&control, 0, sizeof control);
    struct cmsghdr *message = CMSG_FIRSTHDR(&header);
    message->cmsg_level = SOL_SOCKET;
    message->cmsg_type = SCM_RIGHTS;
    message->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(message), &fd, sizeof fd);
    must(sendmsg(channel, &header, 0), "sendmsg");
}

static int receive_fd(int channel)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    int fd;
    struct iovec part = {&byte, 1};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    must(recvmsg(channel, &header, 0), "recvmsg");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fd);
    return fd;
}

static int use(int channel)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    char text[80], answer[8] = "";
    int fd = receive_fd(channel);
    must(getpeername(fd, (struct sockaddr *)&name, &size), "getpeername");
    printf("peer=%s\n", text_of(&name, 1, text, sizeof text));
    must(write(fd, "ping", 4), "write");
    must(read(fd, answer, 4), "read");
    printf("answer=%s\n", answer);
    return 0;
}

int main(int count, char **arguments)
{
    int channel[2], status;
    if (count != 3)
        return 64;
    struct address peer = address_of(arguments[1], arguments[2]);
    must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel), "socketpair");
    pid_t pid = (pid_t)must(fork(), "fork");
    if (pid == 0) {
        close(channel[1]);
        status = use(channel[0]);
        fflush(stdout);
        _exit(status);
    }
    int fd = (int)must(socket(peer.storage.ss_family, SOCK_STREAM, 0), "socket");
    int spare = (int)must(socket(peer.storage.ss_family, SOCK_STREAM, 0), "socket");
    must(connect(fd, (struct sockaddr *)&peer.storage, peer.size), "connect");
    must(connect(spare, (struct sockaddr *)&peer.storage, peer.size), "connect");
    send_fd(channel[1], fd);
    report("close_range", close_range((unsigned)fd, ~0u, 0));
    report("closed", write(spare, "x", 1));
    fflush(stdout);
    must(waitpid(pid, &status, 0), "waitpid");
    return WEXITSTATUS(status);
}
