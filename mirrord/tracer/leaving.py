"""Answering for a process that no session serves: every call is left to the kernel.

Also then a signal may end a call before it is received, so the frame of its handler is repaired as in a
session (``interrupted.py``).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from mirrord_seccomp.notify import Listener
from mirrord_seccomp.rules import Rule
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.syscall import Elsewhere, Gone, Tid
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.interrupted import Interrupted, can_repair
from mirrord.tracer.threads import Threads

_RT_SIGRETURN: Final = number("rt_sigreturn", current_arch())
_EXECUTING: Final = {number(name, current_arch()) for name in ("execve", "execveat")}
_MOST_THREADS: Final = 4096


class Leaving:
    """Leaves the calls of one listener to the kernel, one at a time."""

    def __init__(self, listener: Listener, trapped: Mapping[int, Sequence[Rule]]) -> None:
        """``trapped`` is what the filter traps, by number."""
        self._listener: Final = listener
        self._threads: Final = Threads(listener.valid)
        self._interrupted: Final = Interrupted()
        self._interrupted.trapped = trapped

    def answer(self) -> None:
        """Receive a call, if there is one after all, and continue it."""
        if not self._listener.receive():
            return
        notification = self._listener.notification
        id, tid, _, called, _, _, a0, a1, a2, a3, a4, a5 = notification
        if called == _RT_SIGRETURN and can_repair():
            self._repair(TrappedCall(id, Tid(tid), called, (a0, a1, a2, a3, a4, a5), self._threads))
        else:
            received = self._interrupted.received
            if len(received) > _MOST_THREADS:
                received.clear()
            received[tid] = notification
        if called in _EXECUTING:
            self._threads.forget(tid)
        self._listener.send_continue(id)

    def forget(self) -> None:
        """Drop what is known of the process: a session has it from here on."""
        self._threads.forget_all()
        self._interrupted.received.clear()

    def _repair(self, call: TrappedCall) -> None:
        try:
            self._interrupted.returning(call)
        except (Gone, Elsewhere, OSError):
            # it ends, or may not be looked into: it keeps the EINTR
            return
