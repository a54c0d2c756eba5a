"""What ``waitpid`` tells of a traced thread, as types: the only place where a wait status is taken apart.

Facts (ptrace(2), kernel/signal.c). ``status >> 16`` is the event; ``WSTOPSIG`` alone loses it. Under SEIZE a
group stop is an event of its own: 128 with the signal that stopped the group. 128 with SIGTRAP is a thread's
first stop, an answer to INTERRUPT, or news that the group goes on. Anything else without an event is a signal
on its way to the thread, and only there another number may be handed to ``resume``.

Registers and memory of a thread may be looked at only while it is stopped, so it is the stops that have such
methods; none is of use after ``resume``.
"""

import ctypes
import signal
import struct
from typing import Final, NamedTuple

from mirrord.tracer.sys import (
    PTRACE_CONT,
    PTRACE_EVENT_CLONE,
    PTRACE_EVENT_EXEC,
    PTRACE_EVENT_FORK,
    PTRACE_EVENT_SECCOMP,
    PTRACE_EVENT_STOP,
    PTRACE_EVENT_VFORK,
    PTRACE_GET_SYSCALL_INFO,
    PTRACE_GETEVENTMSG,
    PTRACE_LISTEN,
    PTRACE_SYSCALL,
    SYSCALL_STOP,
    quick_ptrace,
)

_STOPPING: Final = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_INFO: Final = struct.Struct("=B3xIQQQ6QI4x")
"""``struct ptrace_syscall_info`` at a seccomp stop (include/uapi/linux/ptrace.h): operation, audit
architecture, instruction and stack pointers, number, arguments, the filter's data.
"""
_RESULT: Final = struct.Struct("=24xq")
"""The same at the end of a call: after the pointers comes its result."""
_info: Final = ctypes.create_string_buffer(_INFO.size)
_INFO_ADDRESS: Final = ctypes.addressof(_info)
_message: Final = ctypes.c_ulong()
_MESSAGE_ADDRESS: Final = ctypes.addressof(_message)


AT_START: Final = 1
"""The ``operation`` of a call's start: PTRACE_SYSCALL_INFO_ENTRY."""


class Trap(NamedTuple):
    """A system call that is about to be run."""

    operation: int
    """Of the kind of stop: PTRACE_SYSCALL_INFO_ENTRY and the like."""
    arch: int
    instruction: int
    """Where the thread goes on, behind the ``syscall`` instruction."""
    stack: int
    number: int
    a0: int
    a1: int
    a2: int
    a3: int
    a4: int
    a5: int
    data: int
    """The 16 bits that the filter gave with SECCOMP_RET_TRACE."""

    @property
    def arguments(self) -> tuple[int, int, int, int, int, int]:
        """The six argument registers."""
        return (self.a0, self.a1, self.a2, self.a3, self.a4, self.a5)


class Ended:
    """The thread is no more; of a process's leader ``status`` is what wait(2) gives its parent."""

    __slots__ = ("status", "tid")

    def __init__(self, tid: int, status: int) -> None:
        self.tid: Final = tid
        self.status: Final = status


class Stopped:
    """A thread that stands still until it is resumed.

    Requests raise ProcessLookupError once it was killed.
    """

    __slots__ = ("status", "tid")

    def __init__(self, tid: int, status: int) -> None:
        self.tid: Final = tid
        self.status: Final = status

    @property
    def signal(self) -> int:
        """The signal of the stop."""
        return self.status >> 8 & 0xFF

    def resume(self, request: int = PTRACE_CONT, signal: int = 0) -> None:
        """Let the thread go on, to its next event or, by PTRACE_SYSCALL, to a call's start or end."""
        quick_ptrace(request, self.tid, 0, signal)

    def message(self) -> int:
        """Return what the kernel says of the event."""
        quick_ptrace(PTRACE_GETEVENTMSG, self.tid, 0, _MESSAGE_ADDRESS)
        return _message.value


class Trapped(Stopped):
    """At a call that the filter traces, before it is run."""

    __slots__ = ()

    def trap(self) -> Trap:
        """Return the call."""
        quick_ptrace(PTRACE_GET_SYSCALL_INFO, self.tid, _INFO.size, _INFO_ADDRESS)
        return Trap._make(_INFO.unpack(_info))


class AtCall(Trapped):
    """At the start or the end of a call, which was asked for by PTRACE_SYSCALL; only at the start is there
    all of a :class:`Trap`, but for the filter's data.
    """

    __slots__ = ()

    def result(self) -> int:
        """Return what a call gives at whose end the thread is, ``-errno`` for a failure."""
        quick_ptrace(PTRACE_GET_SYSCALL_INFO, self.tid, _INFO.size, _INFO_ADDRESS)
        value: int = _RESULT.unpack_from(_info)[0]
        return value


class Signalled(Stopped):
    """A signal is on its way to the thread; it takes the one that it is resumed with."""

    __slots__ = ()


class GroupStopped(Stopped):
    """The whole process is stopped, by a signal or from a terminal."""

    __slots__ = ()

    def listen(self) -> None:
        """Let the thread stay stopped, and hear when its group goes on: so SIGCONT works as ever."""
        quick_ptrace(PTRACE_LISTEN, self.tid)


class Noticed(Stopped):
    """The first stop of a new thread, or the group goes on, or an INTERRUPT was heard."""

    __slots__ = ()


class HasChild(Stopped):
    """The thread has made a process or thread, whose number is the message."""

    __slots__ = ()


class Executed(Stopped):
    """The thread runs another program, as its process's leader; its number before is the message."""

    __slots__ = ()

    def arch(self) -> int:
        """Return the program's audit architecture."""
        quick_ptrace(PTRACE_GET_SYSCALL_INFO, self.tid, _INFO.size, _INFO_ADDRESS)
        return Trap._make(_INFO.unpack(_info)).arch


class Passing(Stopped):
    """An event that nothing is to be done about."""

    __slots__ = ()


_EVENTS: Final[dict[int, type[Stopped]]] = {
    PTRACE_EVENT_SECCOMP: Trapped,
    PTRACE_EVENT_FORK: HasChild,
    PTRACE_EVENT_VFORK: HasChild,
    PTRACE_EVENT_CLONE: HasChild,
    PTRACE_EVENT_EXEC: Executed,
}


def decode(tid: int, status: int) -> Ended | Stopped:
    """Return what a wait status says."""
    if status & 0xFF != 0x7F:
        return Ended(tid, status)
    event, number = status >> 16, status >> 8 & 0xFF
    if event == 0:
        return AtCall(tid, status) if number == SYSCALL_STOP else Signalled(tid, status)
    if event == PTRACE_EVENT_STOP:
        return GroupStopped(tid, status) if number in _STOPPING else Noticed(tid, status)
    return _EVENTS.get(event, Passing)(tid, status)


__all__ = [
    "AT_START",
    "PTRACE_CONT",
    "PTRACE_SYSCALL",
    "AtCall",
    "Ended",
    "Executed",
    "GroupStopped",
    "HasChild",
    "Noticed",
    "Passing",
    "Signalled",
    "Stopped",
    "Trap",
    "Trapped",
    "decode",
]
