"""A call that was trapped, by either engine: the tracer's :class:`mirrord.syscall.Call`."""

import errno
import os
from collections.abc import Callable
from typing import ClassVar

from mirrord_seccomp.notify import NotificationId

from mirrord.syscall import Elsewhere, Fault, Gone, Tid, Verdict
from mirrord.tracer.threads import Threads, has_capability, rights


class TrappedCall:
    """One trapped call, which looks at the program through ``threads``.

    ``id`` is the notification's, or the ptrace engine's own number of the call.
    """

    __slots__ = ("args", "id", "number", "threads", "tid")

    watched: ClassVar[bool] = False

    def __init__(
        self,
        id: NotificationId,
        tid: Tid,
        number: int,
        args: tuple[int, int, int, int, int, int],
        threads: Threads,
    ) -> None:
        self.id = id
        self.tid = tid
        self.number = number
        self.args = args
        self.threads = threads

    def here(self, address: int, data: bytes) -> None:
        """Take note of what stands on this machine for something of the program's: nobody watches."""

    def read(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` bytes of the program's memory; raise Fault."""
        data = self.threads.read(self.tid, self.id, address, size)
        if len(data) != size:
            raise Fault
        return data

    def string(self, address: int) -> bytes:
        """Return the path at ``address`` without its NUL."""
        return self.threads.string(self.tid, self.id, address)

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into the program's memory as the kernel would; raise Fault."""
        self.threads.write(self.tid, address, data)

    def duplicate(self, fd: int) -> int:
        """Return a duplicate of the program's descriptor; raise OSError EBADF."""
        return self.threads.get(self.tid, self.id).duplicate(fd)

    def stack_pointer(self) -> int:
        """Return where the thread's stack is."""
        return self.threads.get(self.tid, self.id).stack_pointer()

    def descriptor_path(self, fd: int) -> bytes:
        """Return what the program's descriptor points to; raise OSError EBADF."""
        try:
            return os.readlink(b"/proc/%d/fd/%d" % (self.tid, fd))
        except FileNotFoundError as error:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from error

    def working_directory(self) -> bytes:
        """Return what the thread's current directory is; raise Gone."""
        try:
            return os.readlink(b"/proc/%d/cwd" % self.tid)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise Gone from error

    def answering(self) -> None:
        """Be told, on the loop, that the answer comes now: a recorded call takes its place in the order."""

    def answered(self, verdict: Verdict, result: int) -> None:
        """Be told what the program got: a recorded call notes it."""

    def require_network(self) -> None:
        """Raise Elsewhere where the thread is in another network namespace."""
        if self.threads.require_not_skipped(self.tid, self.id).foreign_network():
            raise Elsewhere("it is in a network namespace of its own")

    def require_files(self) -> None:
        """Raise Elsewhere where the thread has another root directory or mount namespace."""
        if self.threads.require_not_skipped(self.tid, self.id).foreign_files():
            raise Elsewhere("it has a root directory or mount namespace of its own")

    def require_user(self) -> None:
        """Raise Elsewhere where the supervisor is root and the thread has given rights up; an ordinary user's
        processes all have the same.
        """
        if os.geteuid() == 0 and rights(self.tid) != rights(os.getpid()):
            raise Elsewhere(
                "it has not the rights of its session, which is root's: no `feature.fs.mapping` holds for it"
            )

    def has_capability(self, number: int) -> bool:
        """Tell whether the thread has a capability now, in our user namespace; raise Gone."""
        return has_capability(self.tid, number)


class TakingCall(TrappedCall):
    """A call of a program whose descriptors we may not duplicate: ``take`` has the thread send them."""

    __slots__ = ("take",)

    take: Callable[[int], int]

    def duplicate(self, fd: int) -> int:
        """Return a duplicate of the program's descriptor; raise OSError EBADF. On the tracer's thread."""
        return self.take(fd)
