"""Put a filter onto a process that runs, and take its listener.

Every thread is seized and interrupted, so that nobody in the process sees the listener's descriptor before it
is taken out again, or the memory that the filter is handed over in. One thread makes the calls.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from mirrord_seccomp import load
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.errors import AttachError, MirrordError
from mirrord.tracer import attachable
from mirrord.tracer.inject import Injector
from mirrord.tracer.registers import LAYOUTS
from mirrord.tracer.stopping import Busy, Threads, interrupted_again, without_signals
from mirrord.tracer.sys import (
    PR_SET_NO_NEW_PRIVS,
    PTRACE_O_TRACESYSGOOD,
    pidfd_getfd,
    ptrace,
)

_PTRACE_SETOPTIONS: Final = 0x4200
_PTRACE_O_SUSPEND_SECCOMP: Final = 0x200000
_FILTER_FLAGS: Final = (
    load.NEW_LISTENER | load.TSYNC | load.TSYNC_ESRCH | load.WAIT_KILLABLE_RECV | load.SPEC_ALLOW
)
ATTEMPTS: Final = 40
_PAUSE: Final = 0.05
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


class Unstoppable(AttachError):
    """Raised when a thread would not stop: it will yet, and stay so until the calling process has ended."""


def attach(pid: int, filter_: bytes) -> Attachment:
    """Put the filter onto every thread of the process; raise AttachError, the process being as it was.

    Must be called from a thread that has no other tracees; blocks for five seconds at most.
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
    threads = Threads(pid)
    for _ in range(ATTEMPTS):
        try:
            return _try(threads, pid, process, filter_)
        except Busy:
            pause()
    raise Unstoppable(
        f"process {pid} has a thread that cannot be stopped, in an uninterruptible wait",
        remedy="look at the state D in: ps -L -o tid,state,wchan -p " + str(pid),
    )


def pause() -> None:
    """Let the process run for a moment between two attempts."""
    time.sleep(_PAUSE)


def _try(threads: Threads, pid: int, process: int, filter_: bytes) -> Attachment:
    with threads:
        listener = _inject(pid, process, filter_)
        count = len(threads)
    return Attachment(process, listener, count, threads.seconds)


def _inject(pid: int, process: int, filter_: bytes) -> int:
    """Have the stopped process load the filter; return the listener."""
    layout = LAYOUTS[current_arch()]
    with (
        without_signals(pid),
        interrupted_again(pid),
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
            remedy="end that session, or attach as the user who has done so before; beside a container's "
            "listener: mirrord attach --engine ptrace",
        )
    if -result == errno.ESRCH:
        raise AttachError(
            f"the threads of process {pid} have different seccomp filters, so that no one filter can be "
            "added to all of them",
            remedy="mirrord attach --engine ptrace needs none",
        )
    if -result == errno.EINVAL:
        raise AttachError(
            "this kernel lacks seccomp user notifications that signals do not interrupt",
            remedy="use mirrord attach --engine ptrace, or Linux 5.19 or later; mirrord doctor tells "
            "what else is missing",
        )
    if -result == errno.EMFILE:
        raise AttachError(f"process {pid} has no descriptor left", remedy="raise its limit: prlimit --nofile")
    raise AttachError(f"process {pid} cannot take a filter: {os.strerror(-result).lower()}")
