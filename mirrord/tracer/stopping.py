"""Stop every thread of a process that runs, and let it go on as if it had not been stopped.

How the interruption is undone: a thread that was stopped inside a call has its result, -ERESTARTSYS or the
like, in its registers, and the kernel would make the call again on the way out. In the thread that made calls
of ours that chance has passed. So it is given its registers back and interrupted once more: it stops where it
was stopped the first time, and on being let go the kernel decides about the call as if nothing had been
between, also where a signal has come meanwhile. On aarch64 the kernel does its part before it stops.
"""

import ctypes
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import TracebackType
from typing import Final, Self

from mirrord_seccomp.syscalls import current_arch, number

from mirrord.errors import AttachError
from mirrord.tracer import attachable, registers
from mirrord.tracer.registers import LAYOUTS
from mirrord.tracer.sys import (
    PTRACE_CONT,
    PTRACE_DETACH,
    PTRACE_O_TRACESYSGOOD,
    PTRACE_SEIZE,
    WALL,
    ptrace,
)

_PTRACE_INTERRUPT: Final = 0x4207
_PTRACE_GETSIGMASK: Final = 0x420A
_PTRACE_SETSIGMASK: Final = 0x420B
_EVENT_STOP: Final = 128
_SIGTRAP: Final = 5
_SIGSET_SIZE: Final = 8
"""Bytes of the kernel's ``sigset_t`` (ptrace(2))."""
_PATIENCE: Final = 0.015
"""Seconds for which threads are kept stopped while others do not stop."""
_LATE: Final = 0.05
_TICK: Final = 0.0001

_EINTR: Final = 2**64 - errno.EINTR
_ERESTARTNOHAND: Final = 2**64 - 514
"""Make the call again unless a handler has run, else EINTR (include/linux/errno.h)."""
_NOT_REPEATED: Final = (
    *("epoll_wait", "epoll_pwait", "epoll_pwait2", "rt_sigtimedwait", "semop", "semtimedop", "msgrcv"),
    *("msgsnd", "io_getevents", "read", "readv", "recvfrom", "recvmsg", "recvmmsg", "accept", "accept4"),
)
"""Calls that an interruption ends with EINTR always, or where a socket has a time-out (signal(7)), and that
have done nothing then.
"""


class Busy(Exception):
    """Raised when a thread could not be stopped in time, as in vfork(2) or an uninterruptible wait."""


class Threads:
    """All threads of a process, stopped within the ``with`` block, which may be entered anew after Busy."""

    def __init__(self, pid: int) -> None:
        self._pid: Final = pid
        self._stopped: Final[set[int]] = set()
        self._running: Final[set[int]] = set()
        """Those that are seized, and not stopped yet."""
        self._start = 0.0
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._stopped)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        try:
            while new := threads_of(self._pid) - self._stopped:
                for tid in new:
                    self._seize(tid)
                self._wait()
            if self._pid not in self._stopped:
                raise AttachError(f"process {self._pid} has ended meanwhile")
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _seize(self, tid: int) -> None:
        if tid in self._running:
            # by an earlier attempt: a second PTRACE_SEIZE is refused (EPERM)
            return
        try:
            ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD)
            self._running.add(tid)
            ptrace(_PTRACE_INTERRUPT, tid)
        except ProcessLookupError:
            # it has ended
            return
        except PermissionError as error:
            raise attachable.tracing_refused(self._pid) from error

    def _wait(self) -> None:
        deadline = self._start + _PATIENCE
        while self._running:
            for tid in list(self._running):
                self._look_at(tid)
            if self._running:
                if time.perf_counter() > deadline:
                    raise Busy
                time.sleep(_TICK)

    def _look_at(self, tid: int) -> None:
        reaped, status = os.waitpid(tid, WALL | os.WNOHANG)
        if reaped == 0:
            return
        event = status >> 16
        if os.WIFSTOPPED(status) and event == 0:
            # a signal was about to be delivered: let it be, and stop after
            ptrace(PTRACE_CONT, tid, 0, os.WSTOPSIG(status))
            return
        self._running.discard(tid)
        if not os.WIFSTOPPED(status):
            return
        self._stopped.add(tid)
        if event == _EVENT_STOP and os.WSTOPSIG(status) != _SIGTRAP:
            raise attachable.is_stopped(self._pid)
        have_repeated(tid)

    def _release(self) -> None:
        for tid in self._stopped:
            with suppress(ProcessLookupError):
                # else it was killed while it was stopped
                ptrace(PTRACE_DETACH, tid)
        self._stopped.clear()
        self.seconds = time.perf_counter() - self._start
        self._let_go_late()

    def _let_go_late(self) -> None:
        """Let go of those that did not stop in time, as soon as they do; the kernel does it when we end."""
        deadline = time.perf_counter() + _LATE
        while self._running and time.perf_counter() < deadline:
            for tid in list(self._running):
                reaped, status = os.waitpid(tid, WALL | os.WNOHANG)
                if reaped == 0:
                    continue
                self._running.discard(tid)
                if os.WIFSTOPPED(status):
                    with suppress(ProcessLookupError):
                        if status >> 16 == _EVENT_STOP:
                            have_repeated(tid)
                        ptrace(PTRACE_DETACH, tid, 0, 0 if status >> 16 else os.WSTOPSIG(status))
            time.sleep(_TICK)


def have_repeated(tid: int) -> None:
    """Have a call made again that fails with EINTR only because its thread was stopped, at that stop."""
    layout = LAYOUTS[current_arch()]
    if layout.interrupted is None:
        return
    words = registers.get(tid, layout)
    if words[layout.result] == _EINTR and words[layout.interrupted] in _repeatable():
        words[layout.result] = _ERESTARTNOHAND
        registers.put(tid, layout, words)


@cache
def _repeatable() -> frozenset[int]:
    return frozenset(found for name in _NOT_REPEATED if (found := number(name, current_arch())) is not None)


@contextmanager
def without_signals(tid: int) -> Iterator[None]:
    """Keep signals back from a stopped thread; they are delivered when it is let go."""
    mask = ctypes.create_string_buffer(_SIGSET_SIZE)
    ptrace(_PTRACE_GETSIGMASK, tid, _SIGSET_SIZE, ctypes.addressof(mask))
    everything = ctypes.create_string_buffer(b"\xff" * _SIGSET_SIZE, _SIGSET_SIZE)
    ptrace(_PTRACE_SETSIGMASK, tid, _SIGSET_SIZE, ctypes.addressof(everything))
    try:
        yield
    finally:
        ptrace(_PTRACE_SETSIGMASK, tid, _SIGSET_SIZE, ctypes.addressof(mask))


@contextmanager
def interrupted_again(tid: int) -> Iterator[None]:
    """Bring the thread back to where it was interrupted, for the kernel to undo that."""
    try:
        yield
    finally:
        ptrace(_PTRACE_INTERRUPT, tid)
        while True:
            ptrace(PTRACE_CONT, tid)
            _, status = os.waitpid(tid, WALL)
            if not os.WIFSTOPPED(status):
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            if status >> 16 == _EVENT_STOP:
                break


def threads_of(pid: int) -> set[int]:
    """Return the threads that a process has now; raise ProcessLookupError when it has ended."""
    try:
        return {int(name) for name in os.listdir(f"/proc/{pid}/task")}
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
