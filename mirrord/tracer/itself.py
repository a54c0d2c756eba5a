"""What a thread can only do itself: change its current directory, or have an O_PATH descriptor.

No process can enter a directory for another, and what is put into one by its listener must be open in full.
So the thread is made to do it. It waits in the kernel for its notification to be answered; it is seized and
told to stop, a descriptor of the directory is put into it, and the call is answered: on its way out it stops,
runs a few calls that are never trapped, and goes on with their result. All of it happens in one step of the
event loop: nobody else in this process may wait for the program meanwhile.
"""

import errno
import os
from typing import Final, Protocol

from mirrord_seccomp.notify import NotificationId, Responder
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.errors import LaunchError
from mirrord.syscall import Enter, OpenPath, Tid
from mirrord.tracer import registers
from mirrord.tracer.excuses import Warn
from mirrord.tracer.inject import Injector
from mirrord.tracer.registers import LAYOUTS
from mirrord.tracer.sys import (
    PTRACE_DETACH,
    PTRACE_INTERRUPT,
    PTRACE_O_TRACESYSGOOD,
    PTRACE_SEIZE,
    ptrace,
    wait_for_stop,
)

_LAYOUT: Final = LAYOUTS[current_arch()]
_WORD: Final = 2**64
_AT_SYMLINK_NOFOLLOW: Final = 0x100


class WaitingCall(Protocol):
    """A call that waits, and the thread that made it."""

    @property
    def id(self) -> NotificationId: ...

    @property
    def tid(self) -> Tid: ...


def carry_out_itself(
    responder: Responder, call: WaitingCall, verdict: Enter | OpenPath, *, warn: Warn
) -> int:
    """Answer a call by having its thread do what the verdict says, whose descriptor is closed here; return
    what the program got, ``-errno`` for a failure.
    """
    try:
        ptrace(PTRACE_SEIZE, call.tid, 0, PTRACE_O_TRACESYSGOOD)
    except ProcessLookupError:
        os.close(verdict.fd)
        return 0
    except PermissionError:
        os.close(verdict.fd)
        if not responder.send_errno(call.id, errno.ENOTSUP):
            # it has ended, and nobody has waited for it yet
            return 0
        warn(
            "while a debugger holds a thread it can neither enter a directory of the target "
            "nor open anything there with O_PATH: ENOTSUP"
        )
        return -errno.ENOTSUP
    try:
        in_program = responder.add_fd(call.id, verdict.fd, cloexec=True, send=False)
    except OSError as error:
        return _refuse(responder, call, error.errno or errno.EMFILE)
    finally:
        os.close(verdict.fd)
    ptrace(PTRACE_INTERRUPT, call.tid)
    responder.send_value(call.id, 0)
    return _finish(call.tid, in_program, verdict)


def _refuse(responder: Responder, call: WaitingCall, number_: int) -> int:
    """Fail a call, if it still waits, and let its thread go; it must be stopped for that."""
    try:
        ptrace(PTRACE_INTERRUPT, call.tid)
    except ProcessLookupError:
        return 0
    responder.send_errno(call.id, number_)
    _finish(call.tid, None, None)
    return -number_


def _finish(tid: int, in_program: int | None, verdict: Enter | OpenPath | None) -> int:
    result = 0
    try:
        if wait_for_stop(tid) is None:
            return 0
        if in_program is not None and verdict is not None:
            result = _run(tid, in_program, verdict)
        ptrace(PTRACE_DETACH, tid)
    except (ProcessLookupError, ChildProcessError, LaunchError):
        # killed meanwhile: whoever waits for it gets its status
        return 0
    return result


def _run(tid: int, in_program: int, verdict: Enter | OpenPath) -> int:
    with Injector(tid, _LAYOUT) as injector:
        if isinstance(verdict, Enter):
            result = injector.call(_number("fchdir"), in_program)
        else:
            name = injector.put(verdict.name + b"\0")
            result = injector.call(_number("open_tree"), in_program, name, open_tree_flags(verdict))
        injector.call(_number("close"), in_program)
    words = registers.get(tid, _LAYOUT)
    words[_LAYOUT.result] = result % _WORD
    registers.put(tid, _LAYOUT, words)
    return result


def open_tree_flags(verdict: OpenPath) -> int:
    """Return the flags of open_tree(2) for it: without OPEN_TREE_CLONE it is open(2) with O_PATH."""
    return _AT_SYMLINK_NOFOLLOW | (os.O_CLOEXEC if verdict.cloexec else 0)


def _number(name: str) -> int:
    found = number(name, current_arch())
    assert found is not None, name
    return found
