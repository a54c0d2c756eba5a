/* keeps REMOTE LOCAL ABSENT: registers and the memory below the stack after an open(2) of each.
 *
 * The kernel changes rax, rcx and r11, and nothing else (System V ABI for x86_64, A.2.1). */
#include "calls.h"

#if defined(__x86_64__)
static const char *look(const char *path)
{
    unsigned long before[12], after[12], zone[2];

    for (int i = 0; i < 12; i++)
        before[i] = 0x1111111111111111UL * (i + 1);
    before[0] = (unsigned long)AT_FDCWD; /* rdi, rsi, rdx, r10: the call's */
    before[1] = (unsigned long)path;
    before[2] = O_RDONLY;
    before[3] = 0;
    __asm__ volatile("push %%rbx; push %%rbp; push %%r12; push %%r13; push %%r14; push %%r15\n\t"
                     "mov %[after], %%rax; push %%rax; mov %[zone], %%rax; push %%rax\n\t"
                     "mov %[before], %%rax\n\t"
                     "mov 0(%%rax), %%rdi; mov 8(%%rax), %%rsi; mov 16(%%rax), %%rdx; mov 24(%%rax), %%r10\n\t"
                     "mov 32(%%rax), %%r8; mov 40(%%rax), %%r9; mov 48(%%rax), %%rbx; mov 56(%%rax), %%rbp\n\t"
                     "mov 64(%%rax), %%r12; mov 72(%%rax), %%r13; mov 80(%%rax), %%r14; mov 88(%%rax), %%r15\n\t"
                     "movq $0x5a5a5a5a, -8(%%rsp); movq $0x5a5a5a5b, -128(%%rsp)\n\t"
                     "mov %[openat], %%eax; syscall\n\t"
                     "mov -8(%%rsp), %%rcx; mov -128(%%rsp), %%r11\n\t"
                     "pop %%rax; xchg %%rax, (%%rsp)\n\t"
                     "push %%rax; mov 8(%%rsp), %%rax; mov %%rcx, 0(%%rax); mov %%r11, 8(%%rax); pop %%rax\n\t"
                     "mov %%rdi, 0(%%rax); mov %%rsi, 8(%%rax); mov %%rdx, 16(%%rax); mov %%r10, 24(%%rax)\n\t"
                     "mov %%r8, 32(%%rax); mov %%r9, 40(%%rax); mov %%rbx, 48(%%rax); mov %%rbp, 56(%%rax)\n\t"
                     "mov %%r12, 64(%%rax); mov %%r13, 72(%%rax); mov %%r14, 80(%%rax); mov %%r15, 88(%%rax)\n\t"
                     "pop %%rax; pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx"
                     :
                     : [before] "r"(before), [after] "r"(after), [zone] "r"(zone), [openat] "i"(SYS_openat)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    if (memcmp(before, after, sizeof before))
        return "registers changed";
    return zone[0] == 0x5a5a5a5a && zone[1] == 0x5a5a5a5b ? "kept" : "stack changed";
}
#else
static const char *look(const char *path)
{
    return open(path, O_RDONLY) == -2 ? "changed" : "kept";
}
#endif

int main(int count, char **arguments)
{
    for (int i = 1; i < count; i++)
        printf("%s\n", look(arguments[i]));
    return 0;
}
