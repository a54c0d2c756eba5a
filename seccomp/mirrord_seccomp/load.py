"""Load a filter with seccomp(2).

Source: seccomp(2), prctl(2), ``include/uapi/linux/seccomp.h``.
"""

import ctypes
import errno
import os
from functools import cache
from struct import Struct
from typing import Final

from mirrord_seccomp.syscalls import current_arch, number

SET_MODE_FILTER: Final = 1
GET_ACTION_AVAIL: Final = 2

TSYNC: Final = 1
"""Put the filter on every thread of the process."""
SPEC_ALLOW: Final = 4
"""Keep speculative store bypass on; before Linux 5.16 a filter otherwise slows its task down."""
NEW_LISTENER: Final = 8
"""Return a listener; EBUSY when the chain of filters has one."""
TSYNC_ESRCH: Final = 16
"""Linux 5.7: fail with ESRCH, not with a thread's id, when a thread could not follow.

TSYNC beside NEW_LISTENER needs it.
"""
WAIT_KILLABLE_RECV: Final = 32
"""Linux 5.19: only a fatal signal interrupts a call whose notification has been received."""

PR_SET_NO_NEW_PRIVS: Final = 38

MAX_INSTRUCTIONS: Final = 4096
"""BPF_MAXINSNS."""
INSTRUCTION_SIZE: Final = 8

_SOCK_FPROG: Final = Struct("<HxxxxxxQ")


def sock_fprog(length: int, address: int) -> bytes:
    """Return the ``struct sock_fprog`` of ``length`` instructions at ``address``.

    Raise ValueError for more than :data:`MAX_INSTRUCTIONS`.
    """
    if length > MAX_INSTRUCTIONS:
        raise ValueError(f"a filter has at most {MAX_INSTRUCTIONS} instructions, not {length}")
    return _SOCK_FPROG.pack(length, address)


def set_no_new_privs() -> None:
    """Give up, for good, gaining privileges by execve(2): the price of a filter without CAP_SYS_ADMIN."""
    if _libc().prctl(PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))) != 0:
        raise _error()


def load(program: bytes, flags: int = 0) -> int:
    """Put a compiled filter onto the calling thread, for good; return the listener with NEW_LISTENER, else 0.

    Raise OSError: EACCES without CAP_SYS_ADMIN and :func:`set_no_new_privs`, EBUSY when the chain of filters
    has a listener already, EINVAL for a malformed program or an unknown flag, ESRCH (with TSYNC_ESRCH) or
    EAGAIN when TSYNC met a thread with filters of its own.
    """
    instructions = ctypes.create_string_buffer(program, len(program))
    fprog = sock_fprog(len(program) // INSTRUCTION_SIZE, ctypes.addressof(instructions))
    call = number("seccomp", current_arch())
    result = int(_libc().syscall(call, SET_MODE_FILTER, flags, fprog))
    if result < 0:
        raise _error()
    if result > 0 and not flags & NEW_LISTENER:
        raise BlockingIOError(errno.EAGAIN, f"thread {result} could not be given the filter")
    return result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
