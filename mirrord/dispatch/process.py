"""The process plane: calls that would take the program out of our sight."""

import errno
import os
import socket
from functools import partial
from typing import Final

from mirrord.dispatch.places import Places, Remote
from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD, Row, equal, refuse, trap
from mirrord.dispatch.world import World
from mirrord.syscall import CONTINUE, Call, Fail, Verdict, Wait

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
        self._files: Final = world.files
        self._places: Final = Places(world) if world.paths.active else None

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [
            # what is submitted to a ring never passes a filter
            refuse("io_uring_setup", errno.ENOSYS),
            # a multipath socket never completes a simultaneous open
            refuse("socket", errno.EPROTONOSUPPORT, equal(2, _IPPROTO_MPTCP)),
            *([] if self._ipv6 else [refuse("socket", errno.EAFNOSUPPORT, equal(0, socket.AF_INET6))]),
            trap("execve", self.execve),
            trap("execveat", self.execveat),
            *(trap(name, self.moving) for name in MOVES),
            *([trap("rt_sigreturn", self._returning)] if self._returning else []),
        ]

    def execve(self, call: Call) -> Verdict:
        """Look at the thread afresh after this call, and refuse what only the target has (execve(2))."""
        return self._execute(call, AT_FDCWD, call.args[0])

    def execveat(self, call: Call) -> Verdict:
        """Look at the thread afresh after this call, and refuse what only the target has (execveat(2))."""
        if call.args[4] & AT_EMPTY_PATH:
            self._forget_thread(call.tid)
            return CONTINUE
        return self._execute(call, call.args[0], call.args[1])

    def _execute(self, call: Call, directory: int, path: int) -> Verdict:
        """Decide on a program: what is executed is always local.

        A descriptor of ``/proc/TID/mem`` stays with the old address space. That is gone after most calls, and
        then reads nothing; but a child made by vfork(2) shares its parent's, which lives on and would be read
        in its place.
        """
        place = None if self._places is None else self._places.place(call, directory, path)
        self._forget_thread(call.tid)
        if not isinstance(place, Remote) or (not place.relative and os.path.lexists(place.path)):
            return CONTINUE
        return Wait(partial(self._only_remote, place.path))

    async def _only_remote(self, path: bytes) -> Verdict:
        await self._files.stat(path, follow=True)
        self._files.warn(
            f"{os.fsdecode(path)} exists in the target only, and what is executed is always local"
        )
        return Fail(errno.ENOENT)

    def moving(self, call: Call) -> Verdict:
        """Look at every thread afresh after this call."""
        self._forget_threads()
        return CONTINUE
