"""Put a filter onto a process that runs, and take its listener.

Every thread is seized and interrupted, so that nobody in the process sees the listener's descriptor before it
is taken out again, or the memory that the filter is handed over in. One thread makes the calls.

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
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Final, Self

from mirrord_seccomp import load
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.errors import AttachError, MirrordError
from mirrord.tracer import attachable, registers
from mirrord.tracer.inject import Injector
from mirrord.tracer.registers import LAYOUTS
from mirrord.tracer.sys import (
    PR_SET_NO_NEW_PRIVS,
    PTRACE_CONT,
    PTRACE_DETACH,
    PTRACE_O_TRACESYSGOOD,
    PTRACE_SEIZE,
    WALL,
    pidfd_getfd,
    ptrace,
)

_PTRACE_SETOPTIONS: Final = 0x4200
_PTRACE_INTERRUPT: Final = 0x4207
_PTRACE_GETSIGMASK: Final = 0x420A
_PTRACE_SETSIGMASK: Final = 0x420B
_PTRACE_O_SUSPEND_SECCOMP: Final = 0x200000
_EVENT_STOP: Final = 128
_SIGTRAP: Final = 5
_SIGSET_SIZE: Final = 8
"""Bytes of the kernel's ``sigset_t`` (ptrace(2))."""

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

_FILTER_FLAGS: Final = (
    load.NEW_LISTENER | load.TSYNC | load.TSYNC_ESRCH | load.WAIT_KILLABLE_RECV | load.SPEC_ALLOW
)
_PATIENCE: Final = 0.015
"""Seconds for which threads are kept stopped while others do not stop."""
_ATTEMPTS: Final = 40
_PAUSE: Final = 0.05
_TICK: Final = 0.0001
_PAGE: Final = 4096
_PROT_READ_WRITE: Final = 3
_MAP_PRIVATE_ANONYMOUS: Final = 0x22


@dataclass(frozen=True, slots=True)
class Attachment:
    """A process that is under a filter now."""

    process: int
    """A pidfd of it."""
    listener: int
    threads: int
    stopped: float
    """Seconds for which no thread of it ran."""


class _Busy(Exception):
    """Raised when a thread could not be stopped in time, as in vfork(2) or an uninterruptible wait."""


def attach(pid: int, filter_: bytes) -> Attachment:
    """Put the filter onto every thread of the process; raise AttachError, the process being as it was.

    Must be called from a thread that has no other tracees; blocks for two seconds at most.
    """
    attachable.require(pid)
    try:
        process = os.pidfd_open(pid)
        try:
            # it is the same process that was looked at: its number was not free before the pidfd was there
            attachable.require(pid)
            _require_descriptors(pid, process)
            return _attach(pid, process, filter_)
        except BaseException:
            os.close(process)
            raise
    except AttachError:
        raise
    except ProcessLookupError as error:
        raise AttachError(f"process {pid} has ended meanwhile") from error
    except MirrordError as error:
        if not os.path.exists(f"/proc/{pid}"):
            raise AttachError(f"process {pid} has ended meanwhile") from error
        raise AttachError(error.problem, remedy=error.remedy) from error


def _attach(pid: int, process: int, filter_: bytes) -> Attachment:
    for _ in range(_ATTEMPTS):
        try:
            return _try(pid, process, filter_)
        except _Busy:
            time.sleep(_PAUSE)
    raise AttachError(
        f"process {pid} has a thread that cannot be stopped, in an uninterruptible wait",
        remedy="look at the state D in: ps -L -o tid,state,wchan -p " + str(pid),
    )


def _try(pid: int, process: int, filter_: bytes) -> Attachment:
    with _Threads(pid) as threads:
        listener = _inject(pid, process, filter_)
        count = len(threads)
    return Attachment(process, listener, count, threads.seconds)


class _Threads:
    """All threads of a process, stopped within the ``with`` block."""

    def __init__(self, pid: int) -> None:
        self._pid: Final = pid
        self._stopped: Final[set[int]] = set()
        self._running: Final[set[int]] = set()
        self._start = 0.0
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._stopped)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        try:
            while new := _tids(self._pid) - self._stopped:
                for tid in new:
                    self._seize(tid)
                self._wait()
            for tid in self._stopped:
                _have_repeated(tid)
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
                    raise _Busy
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

    def _release(self) -> None:
        for tid in self._stopped:
            with suppress(ProcessLookupError):
                # else it was killed while it was stopped
                ptrace(PTRACE_DETACH, tid)
        self.seconds = time.perf_counter() - self._start
        self._let_go_late()

    def _let_go_late(self) -> None:
        """Let go of those that did not stop in time, as soon as they do; the kernel does it if we end."""
        deadline = time.perf_counter() + _PAUSE
        while self._running and time.perf_counter() < deadline:
            for tid in list(self._running):
                reaped, status = os.waitpid(tid, WALL | os.WNOHANG)
                if reaped == 0:
                    continue
                self._running.discard(tid)
                if os.WIFSTOPPED(status):
                    with suppress(ProcessLookupError):
                        ptrace(PTRACE_DETACH, tid, 0, 0 if status >> 16 else os.WSTOPSIG(status))
            time.sleep(_TICK)


def _have_repeated(tid: int) -> None:
    """Have a call made again that fails with EINTR only because its thread was stopped."""
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


def _inject(pid: int, process: int, filter_: bytes) -> int:
    """Have the stopped process load the filter; return the listener."""
    layout = LAYOUTS[current_arch()]
    with (
        _without_signals(pid),
        _interrupted_again(pid),
        _without_filters(pid),
        Injector(pid, layout) as injector,
    ):
        return _load(pid, process, injector, filter_)


def _load(pid: int, process: int, injector: Injector, filter_: bytes) -> int:
    if not attachable.may_filter_without_no_new_privs(pid):
        _must(pid, injector.call(_number("prctl"), PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header = len(load.sock_fprog(0, 0))
    size = -(-(header + len(filter_)) // _PAGE) * _PAGE
    room = injector.call(_number("mmap"), 0, size, _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0)
    _must(pid, room)
    try:
        _write(pid, room, load.sock_fprog(len(filter_) // load.INSTRUCTION_SIZE, room + header) + filter_)
        fd = injector.call(_number("seccomp"), load.SET_MODE_FILTER, _FILTER_FLAGS, room)
        _must(pid, fd)
        listener = pidfd_getfd(process, fd)
        injector.call(_number("close"), fd)
    finally:
        injector.call(_number("munmap"), room, size)
    return listener


@contextmanager
def _without_signals(tid: int) -> Iterator[None]:
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
def _interrupted_again(tid: int) -> Iterator[None]:
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


@contextmanager
def _without_filters(tid: int) -> Iterator[None]:
    """Keep the program's own filters from killing it for our calls, where we may (CAP_SYS_ADMIN)."""
    suspended = False
    with suppress(PermissionError):
        try:
            ptrace(_PTRACE_SETOPTIONS, tid, 0, PTRACE_O_TRACESYSGOOD | _PTRACE_O_SUSPEND_SECCOMP)
            suspended = True
        except OSError as error:
            # a kernel without CONFIG_CHECKPOINT_RESTORE
            if error.errno != errno.EINVAL:
                raise
    try:
        yield
    finally:
        if suspended:
            ptrace(_PTRACE_SETOPTIONS, tid, 0, PTRACE_O_TRACESYSGOOD)


def _write(pid: int, address: int, data: bytes) -> None:
    memory = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(memory, data, address)
    finally:
        os.close(memory)


def _require_descriptors(pid: int, process: int) -> None:
    """Try to duplicate one of the process's descriptors: a listener that cannot be taken would be fatal."""
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
        if numbers:
            os.close(pidfd_getfd(process, int(numbers[0])))
    except PermissionError as error:
        raise attachable.tracing_refused(pid) from error
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOENT, errno.ESRCH):
            raise AttachError(
                f"the descriptors of process {pid} cannot be reached: {(error.strerror or '').lower()}",
                remedy="mirrord doctor tries what this needs",
            ) from error


def _tids(pid: int) -> set[int]:
    try:
        return {int(name) for name in os.listdir(f"/proc/{pid}/task")}
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error


def _number(name: str) -> int:
    found = number(name, current_arch())
    assert found is not None, name
    return found


def _must(pid: int, result: int) -> None:
    if result >= 0:
        return
    if -result == errno.EBUSY:
        raise AttachError(
            f"process {pid} is supervised by a seccomp listener already, of another mirrord session or of "
            "the container that it runs in",
            remedy="end that session, or attach as the user who has done so before; a container's listener "
            "cannot be shared",
        )
    if -result == errno.ESRCH:
        raise AttachError(
            f"the threads of process {pid} have different seccomp filters, so that no one filter can be "
            "added to all of them"
        )
    if -result == errno.EINVAL:
        raise AttachError(
            "this kernel lacks seccomp user notifications that signals do not interrupt",
            remedy="use Linux 5.19 or later; mirrord doctor tells what else is missing",
        )
    if -result == errno.EMFILE:
        raise AttachError(f"process {pid} has no descriptor left", remedy="raise its limit: prlimit --nofile")
    raise AttachError(f"process {pid} cannot take a filter: {os.strerror(-result).lower()}")
