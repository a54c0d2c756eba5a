"""What passes between the tracer and the dispatcher: one trapped call in, one verdict out.

Neither side knows the other. The tracer has engines that produce :class:`Call` objects and carry verdicts
out; the dispatcher has handlers that turn a call into a verdict.
"""

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, NewType, Protocol

Tid = NewType("Tid", int)
Address = NewType("Address", int)
"""An address in the program's memory."""


class Fault(OSError):
    """Raised when the program gave a pointer that it could not have used itself; it gets EFAULT."""

    def __init__(self) -> None:
        super().__init__(errno.EFAULT, "bad address")


class Gone(Exception):
    """Raised when the thread that made the call does not wait for its answer any more."""


class Elsewhere(Exception):
    """Raised when a process may not be looked into, or sees other files or another network than we do.

    Its calls are left to the kernel. The message says why, for the one warning that the user gets.
    """


class Skipped(Elsewhere):
    """Raised for a process that the configuration leaves alone (``skip_processes``): nobody is warned."""


class Call(Protocol):
    """One system call of the program that waits for a verdict."""

    @property
    def tid(self) -> Tid: ...

    @property
    def watched(self) -> bool:
        """Whether anybody looks at what becomes of it: only then :meth:`here` is of use."""

    def here(self, address: int, data: bytes) -> None:
        """Take note, for people, of what stands on this machine for what the program has at an address, or
        gets there: the address of a relay, a placeholder's path.
        """

    @property
    def args(self) -> tuple[int, int, int, int, int, int]:
        """The six argument registers, as unsigned 64-bit numbers."""

    def read(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` bytes of the program's memory; raise :exc:`Fault`."""

    def string(self, address: int) -> bytes:
        """Return the path at ``address`` without its NUL; raise :exc:`Fault`, or OSError ENAMETOOLONG."""

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into the program's memory as the kernel would; raise :exc:`Fault`."""

    def duplicate(self, fd: int) -> int:
        """Return a duplicate, close-on-exec, of the program's descriptor; raise OSError EBADF."""

    def stack_pointer(self) -> int:
        """Return where the stack of the thread is; 0 when it does not wait any more."""

    def descriptor_path(self, fd: int) -> bytes:
        """Return what the program's ``/proc/self/fd/N`` points to; raise OSError EBADF."""

    def working_directory(self) -> bytes:
        """Return what the thread's ``/proc/TID/cwd`` points to; raise :exc:`Gone`."""

    def require_network(self) -> None:
        """Raise :exc:`Elsewhere` where the program is in a network namespace that is not ours."""

    def require_files(self) -> None:
        """Raise :exc:`Elsewhere` where the program's root directory is not ours."""

    def require_user(self) -> None:
        """Raise :exc:`Elsewhere` where the thread has not the rights that we have: for what we do for it."""

    def has_capability(self, number: int) -> bool:
        """Tell whether the thread has a capability now (capabilities(7)), for what we do for it; raise
        :exc:`Gone`.
        """


class Verdict:
    """The answer to a call; one of the classes below."""

    __slots__ = ()


class Continue(Verdict):
    """Let the kernel run the call as the program made it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Return(Verdict):
    """Do not run the call; put each of ``writes`` into the program's memory and give ``value``."""

    value: int
    writes: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Fail(Verdict):
    """Do not run the call; it fails with ``errno``."""

    errno: int


@dataclass(frozen=True, slots=True)
class GiveFd(Verdict):
    """Do not run the call; put each of ``writes`` into the program's memory, and give a duplicate of our
    descriptor ``fd``, which is closed here after.

    Where the program cannot take it (it has no number left, or its thread was killed), ``refused`` gets our
    descriptor instead, to do with it what it wants.
    """

    fd: int
    cloexec: bool
    writes: tuple[tuple[int, bytes], ...] = ()
    refused: Callable[[int], None] = os.close


@dataclass(frozen=True, slots=True)
class Enter(Verdict):
    """Do not run the call; make the directory ``fd``, which is closed here after, the thread's current one.

    Only as the answer of a :class:`Wait`.
    """

    fd: int


@dataclass(frozen=True, slots=True)
class OpenPath(Verdict):
    """Do not run the call; its result is an O_PATH descriptor of ``name`` in the directory ``fd``, which is
    closed here after. A link is not followed.

    Only as the answer of a :class:`Wait`.
    """

    fd: int
    name: bytes
    cloexec: bool


@dataclass(frozen=True, slots=True)
class Wait(Verdict):
    """Give the verdict of ``answer`` when it is there; other threads' calls go on meanwhile.

    It is called on the event loop, at once; only what it returns is waited for.

    ``interruptible`` calls are continued into the kernel as soon as the thread has a signal to take, so that
    it does what it would have done: run the handler, then restart the call or fail with EINTR. Others wait as
    a call on a network file system does.
    """

    answer: Callable[[], Awaitable[Verdict]]
    interruptible: bool = False


CONTINUE: Final = Continue()
SUCCESS: Final = Return(0)

Handler = Callable[[Call], Verdict]
"""Decides one call; runs on the gate's thread and must not block."""
