"""Registers of a stopped thread, behind one small interface for both architectures.

Read and written as the ``NT_PRSTATUS`` register set, which both architectures have. On aarch64 the number of
the call lives in a register set of its own, ``NT_ARM_SYSTEM_CALL``, and x0 is both the first argument and the
result.
"""

import ctypes
import struct
from dataclasses import dataclass
from typing import Final

from mirrord_seccomp.syscalls import Arch

from mirrord.tracer.sys import (
    PTRACE_GETREGSET,
    PTRACE_POKEUSER,
    PTRACE_SETREGSET,
    IoVec,
    ptrace,
    quick_ptrace,
)

_NT_PRSTATUS: Final = 1
_NT_ARM_SYSTEM_CALL: Final = 0x404
_NO_CALL: Final = 2**64 - 1
_WORD: Final = 2**64
ERESTARTSYS: Final = 512


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one architecture keeps what a system call needs; indices into the 64-bit words of
    ``user_regs_struct``.
    """

    arch: Arch
    words: int
    number: int
    arguments: tuple[int, ...]
    result: int
    instruction: int
    stack: int
    syscall_instruction: bytes
    interrupted: int | None = None
    """The number of the call that was interrupted; None where the kernel has dealt with that already."""


# struct user_regs_struct of arch/x86/include/uapi/asm/ptrace.h: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx
# rdx rsi rdi orig_rax rip …
X86_64: Final = Layout(
    arch=Arch.X86_64,
    words=27,
    number=10,
    arguments=(14, 13, 12, 7, 9, 8),
    result=10,
    instruction=16,
    stack=19,
    syscall_instruction=b"\x0f\x05",
    interrupted=15,
)
_ORIG_RAX: Final = 15

# struct user_pt_regs of arch/arm64/include/uapi/asm/ptrace.h: x0..x30 sp pc pstate; the number is in x8
AARCH64: Final = Layout(
    arch=Arch.AARCH64,
    words=34,
    number=8,
    arguments=(0, 1, 2, 3, 4, 5),
    result=0,
    instruction=32,
    stack=31,
    syscall_instruction=b"\x01\x00\x00\xd4",
)

LAYOUTS: Final = {Arch.X86_64: X86_64, Arch.AARCH64: AARCH64}


def get(tid: int, layout: Layout) -> list[int]:
    """Return the thread's registers as 64-bit words; raise OSError."""
    buffer = ctypes.create_string_buffer(layout.words * 8)
    vector = IoVec(ctypes.addressof(buffer), len(buffer))
    ptrace(PTRACE_GETREGSET, tid, _NT_PRSTATUS, ctypes.addressof(vector))
    return list(struct.unpack(f"={layout.words}Q", buffer.raw))


def put(tid: int, layout: Layout, words: list[int]) -> None:
    """Set the thread's registers; raise OSError."""
    buffer = ctypes.create_string_buffer(struct.pack(f"={layout.words}Q", *words), layout.words * 8)
    vector = IoVec(ctypes.addressof(buffer), len(buffer))
    ptrace(PTRACE_SETREGSET, tid, _NT_PRSTATUS, ctypes.addressof(vector))


def with_call(
    layout: Layout, words: list[int], *, at: int, number: int, arguments: tuple[int, ...]
) -> list[int]:
    """Return registers that make the thread run one system call at the instruction ``at``.

    On x86_64 ``orig_rax`` is set to -1: the kernel then takes the thread as not inside a call, and does not
    try to restart one.
    """
    changed = list(words)
    for index, argument in zip(layout.arguments, (*arguments, 0, 0, 0, 0, 0, 0), strict=False):
        changed[index] = argument % _WORD
    changed[layout.number] = number
    changed[layout.instruction] = at
    if layout.arch is Arch.X86_64:
        changed[_ORIG_RAX] = _NO_CALL
    return changed


def result(layout: Layout, words: list[int]) -> int:
    """Return the result of the call that has just ended, negative for an errno."""
    value = words[layout.result]
    return value - _WORD if value >= _WORD // 2 else value


def skip(tid: int, layout: Layout, value: int) -> None:
    """Have the call whose seccomp stop the thread is in not run, and give ``value``; raise OSError.

    The kernel looks at the number again after the stop; there is no call -1 (seccomp(2)). No other stop is
    needed.
    """
    if layout.arch is Arch.X86_64:
        # in this order: if we are killed between the two, the kernel runs the call
        quick_ptrace(PTRACE_POKEUSER, tid, 8 * layout.result, value % _WORD)
        quick_ptrace(PTRACE_POKEUSER, tid, 8 * _ORIG_RAX, _NO_CALL)
        return
    number = ctypes.c_int(-1)
    vector = IoVec(ctypes.addressof(number), ctypes.sizeof(number))
    ptrace(PTRACE_SETREGSET, tid, _NT_ARM_SYSTEM_CALL, ctypes.addressof(vector))
    words = get(tid, layout)
    words[layout.result] = value % _WORD
    put(tid, layout, words)


def with_interruption(words: list[int], number: int) -> list[int]:
    """Return registers of a call that a signal has interrupted, on x86_64.

    The kernel goes on as it does with every such call: it runs the handler, then repeats the call or makes
    its result EINTR (ERESTARTSYS, arch/x86/kernel/signal.c). It looks for that only if there is a signal, or
    a PTRACE_INTERRUPT.
    """
    changed = list(words)
    changed[X86_64.result] = _WORD - ERESTARTSYS
    changed[_ORIG_RAX] = number
    return changed


def with_result(layout: Layout, words: list[int], value: int) -> list[int]:
    """Return registers as they are after a call that gave ``value``, and that no signal restarts."""
    changed = list(words)
    changed[layout.result] = value % _WORD
    if layout.arch is Arch.X86_64:
        changed[_ORIG_RAX] = _NO_CALL
    return changed
