"""The process plane: calls that would take the program out of our sight."""

import errno
import socket
from typing import Final

from mirrord.dispatch.row import Row, equal, refuse, trap
from mirrord.dispatch.world import World
from mirrord.syscall import CONTINUE, Call, Verdict

_IPPROTO_MPTCP: Final = 262
AFRESH: Final = ("execve", "execveat")
"""Calls after which a thread has another memory."""
MOVES: Final = ("unshare", "setns", "chroot", "pivot_root")
"""Calls after which threads may see other files or another network."""


class Process:
    """Rings and multipath sockets are refused, so that runtimes fall back; moves are noticed."""

    def __init__(self, world: World) -> None:
        self._ipv6: Final = world.ipv6
        self._forget_threads: Final = world.forget_threads
        self._forget_thread: Final = world.forget_thread
        self._returning: Final = world.returning_from_signal

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [
            # what is submitted to a ring never passes a filter
            refuse("io_uring_setup", errno.ENOSYS),
            # a multipath socket never completes a simultaneous open
            refuse("socket", errno.EPROTONOSUPPORT, equal(2, _IPPROTO_MPTCP)),
            *([] if self._ipv6 else [refuse("socket", errno.EAFNOSUPPORT, equal(0, socket.AF_INET6))]),
            *(trap(name, self.executing) for name in AFRESH),
            *(trap(name, self.moving) for name in MOVES),
            *([trap("rt_sigreturn", self._returning)] if self._returning else []),
        ]

    def executing(self, call: Call) -> Verdict:
        """Look at the thread afresh after this call: its memory will be another.

        A descriptor of ``/proc/TID/mem`` stays with the old address space. That is gone after most calls, and
        then reads nothing; but a child made by vfork(2) shares its parent's, which lives on and would be read
        in its place.
        """
        self._forget_thread(call.tid)
        return CONTINUE

    def moving(self, call: Call) -> Verdict:
        """Look at every thread afresh after this call."""
        self._forget_threads()
        return CONTINUE
