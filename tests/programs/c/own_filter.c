/* Loads seccomp filters of its own, as sandboxing programs do, and goes on to ask for the host name.
 * The first filter makes getppid fail with ENOTTY; the second has a listener, of which a process may have one. */
#include "probe.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static long load(unsigned flags)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

int main(void)
{
    char host[256];
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
    report("filter", load(0));
    report("getppid", syscall(SYS_getppid));
    long listener = load(SECCOMP_FILTER_FLAG_NEW_LISTENER);
    report("listener", listener);
    if (listener >= 0)
        close((int)listener);
    must(gethostname(host, sizeof host), "gethostname");
    printf("hostname=%s\n", host);
    return 0;
}
