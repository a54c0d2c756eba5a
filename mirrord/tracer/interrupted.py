"""Repeat calls that a signal has ended before they were even received.

The fact: while a trapped call waits to be *received*, a signal with a handler ends it, with EINTR unless the
handler has SA_RESTART; only from then on ``WAIT_KILLABLE_RECV`` protects it (seccomp_do_user_notification,
kernel/seccomp.c). That window is a context switch long, some microseconds of every call. Natively a file call
never gives EINTR, and few programs expect it.

What it means here: when the handler returns, by ``rt_sigreturn``, the interrupted call's EINTR lies in the
signal frame. There it is turned back into the call: the number into rax, and the instruction pointer onto the
``syscall`` instruction. The arguments are still in their registers. The number is not, so it is read from the
code, ``mov $number, %eax``, which is how C libraries make a call; where it is not found there, the program
keeps its EINTR. ``rt_sigreturn`` itself is such a call, and what follows it in the code is not meant to be
reached. On aarch64 x0, the first argument, is lost with the result: nothing is repeated there.
"""

import errno
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from mirrord_seccomp.notify import Notification
from mirrord_seccomp.rules import Rule
from mirrord_seccomp.syscalls import Arch, current_arch, number

from mirrord.syscall import CONTINUE, Address, Call, Fault, Verdict

_CONTEXT: Final = 40
"""Offset of ``uc_mcontext`` in ``struct ucontext`` (arch/x86/include/uapi/asm/sigcontext.h)."""
_REGISTERS: Final = struct.Struct("=17Q")
_RDI, _RSI, _RAX, _RIP = 8, 9, 13, 16
_ARGUMENTS: Final = (_RDI, _RSI, 12, 2, 0, 1)
"""rdi, rsi, rdx, r10, r8 and r9."""
_EINTR: Final = 2**64 - errno.EINTR
_SYSCALL: Final = b"\x0f\x05"
_LOADS: Final = ((b"\xb8", frozenset({0x41, 0x49})), (b"\x48\xc7\xc0", frozenset[int]()))
"""``mov $number, %eax`` and ``mov $number, %rax``; after the bytes named, the first of them loads r8 instead.
"""
_LOOK_BACK: Final = 32
_WORD: Final = struct.Struct("=Q")
_IMMEDIATE: Final = struct.Struct("=I")

_SOCKET_CALLS: Final = (
    *("connect", "accept", "accept4"),
    *("sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg"),
)
"""Calls that signals interrupt natively too."""
_OPENING: Final = {"open": _RDI, "creat": _RDI, "openat": _RSI, "openat2": _RSI}
"""Calls that can wait natively, on a named pipe; and the register that points to the path."""


class Interrupted:
    """Decides ``rt_sigreturn``."""

    def __init__(self) -> None:
        arch = current_arch()
        self.trapped: Mapping[int, Sequence[Rule]] = {}
        """The calls that are trapped, by number; each rule is enough."""
        self.received: Final[dict[int, Notification]] = {}
        """The last call of each thread; the gate keeps it up."""
        self._sockets: Final = {number(name, arch) for name in _SOCKET_CALLS}
        self._opening: Final = {number(name, arch): register for name, register in _OPENING.items()}

    def returning(self, call: Call) -> Verdict:
        """Repair the frame that a signal handler returns to, if it is of a call never received."""
        try:
            at = call.stack_pointer() + _CONTEXT
            registers = _REGISTERS.unpack(call.read(at, _REGISTERS.size))
            if registers[_RAX] == _EINTR:
                self._repair(call, at, registers)
        except (Fault, OSError):
            # the kernel will find the same frame unreadable, and kill the program for it; and where we have
            # no descriptor to look with, it must return all the same: this call has no errno
            return CONTINUE
        return CONTINUE

    def _repair(self, call: Call, at: int, registers: tuple[int, ...]) -> None:
        found = _number(call.read(registers[_RIP] - _LOOK_BACK, _LOOK_BACK))
        arguments = [registers[at] for at in _ARGUMENTS]
        if not any(rule.matches(arguments) for rule in self.trapped.get(found, ())):
            # never trapped: the kernel itself gave this EINTR
            return
        if not self._waited(call, found, registers):
            call.write(at + _RAX * 8, _WORD.pack(found))
            call.write(at + _RIP * 8, _WORD.pack(registers[_RIP] - len(_SYSCALL)))

    def _waited(self, call: Call, found: int, registers: tuple[int, ...]) -> bool:
        """Tell whether the call was interrupted in a wait of its own, as it would have been without us."""
        if found in self._sockets:
            last = self.received.get(call.tid)
            return last is not None and (last[3], last[6]) == (found, registers[_RDI])
        if found in self._opening:
            return _can_wait(call, Address(registers[self._opening[found]]))
        return False


def _number(code: bytes) -> int:
    """Return the number of the call that this code ends with, -1 where it cannot be seen."""
    if not code.endswith(_SYSCALL):
        return -1
    best, found = -1, -1
    for load, before in _LOADS:
        at = code.rfind(load, 1, len(code) - len(_SYSCALL) - _IMMEDIATE.size)
        if at > best and code[at - 1] not in before:
            best, found = at, int(_IMMEDIATE.unpack_from(code, at + len(load))[0])
    return found


def _can_wait(call: Call, path: Address) -> bool:
    name = call.string(path)
    try:
        mode = os.stat(os.path.join(b"/proc/%d/cwd" % call.tid, name)).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def can_repair() -> bool:
    """Tell whether this architecture's signal frames keep what is needed."""
    return current_arch() is Arch.X86_64
