/* old_calls PATH: 32-bit calls from a 64-bit program. They are another architecture's and stay local. */
#include "calls.h"

static long old_call(long number, long first, long second, long third)
{
    long value;

    __asm__ volatile("int $0x80"
                     : "=a"(value)
                     : "a"(number), "b"(first), "c"(second), "d"(third)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int)value;
}

int main(int count, char **arguments)
{
    if (count != 2)
        return 2;
    char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED)
        die("mmap");
    long pid = old_call(20, 0, 0, 0);
    if (pid == -ENOSYS) {
        printf("no 32-bit calls\n");
        return 0;
    }
    printf("getpid %s\n", pid == getpid() ? "right" : "wrong");
    strcpy(low, arguments[1]);
    long file = old_call(5, (long)low, O_RDONLY, 0);
    printf("open %s\n", error_name(file < 0 ? -file : 0));
    return 0;
}
