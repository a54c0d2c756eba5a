/* Makes a 32-bit system call from 64-bit code: `int 0x80` with i386's number for uname (122). */
#include "probe.h"

#include <sys/mman.h>
#include <sys/utsname.h>

int main(void)
{
    /* the 32-bit call sees the lower half of a pointer only */
    struct utsname *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    struct utsname own;
    long result;
    if (low == MAP_FAILED)
        return 71;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(122L), "b"(low) : "memory", "r8", "r9", "r10", "r11");
    must(uname(&own), "uname");
    printf("int80=%ld sysname=%s local=%s\nuname=%s\n", result, low->sysname, low->nodename, own.nodename);
    return 0;
}
