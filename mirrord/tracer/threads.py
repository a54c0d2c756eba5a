"""What is known of the program's threads: their memory, their descriptors, where they live.

Facts about ``/proc/TID/mem``: an open descriptor is bound to the address space, not to the thread. After
``execve``, or when the last user of that address space is gone, it reads 0 bytes. If the thread ended and its
number was given to a thread of another process, it still reads the old one. So an entry is kept for a quarter
of a second only, far less than the kernel needs to come round to the same number, and opened anew at a read
of 0 bytes.
"""

import errno
import os
from collections.abc import Callable
from os import pread
from time import monotonic
from typing import Final

from mirrord_seccomp.notify import NotificationId

from mirrord.syscall import Elsewhere, Fault, Gone, Skipped
from mirrord.tracer.sys import pidfd_getfd, pidfd_open, process_vm_write

_LIFETIME: Final = 0.25
_MOST: Final = 256
_PATH_MAX: Final = 4096
_FIRST_READ: Final = 256
_MOST_READ: Final = 2**26
"""Far more than any call needs at once; a buffer is made for what is asked before anything is read."""
_SYSCALL_TEXT: Final = 256
"""More than nine numbers take."""
_COMMAND_LENGTH: Final = 15
_HIGHEST_ADDRESS: Final = 2**63 - 1


class Thread:
    """One thread of the program, looked at through descriptors that are opened once."""

    __slots__ = (
        "_command",
        "_foreign_files",
        "_foreign_network",
        "_pidfd",
        "_syscall",
        "deadline",
        "memory",
        "tid",
    )

    def __init__(self, tid: int, deadline: float) -> None:
        try:
            self.memory = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise Gone from error
        except PermissionError as error:
            raise Elsewhere("its memory may not be read (setuid, or not dumpable)") from error
        self.tid = tid
        self.deadline = deadline
        self._pidfd = -1
        self._syscall = -1
        self._command: str | None = None
        self._foreign_network: bool | None = None
        self._foreign_files: bool | None = None

    def close(self) -> None:
        """Close the descriptors."""
        for fd in (self.memory, self._pidfd, self._syscall):
            if fd >= 0:
                os.close(fd)

    def duplicate(self, fd: int) -> int:
        """Return a duplicate of the thread's descriptor; raise OSError EBADF."""
        if self._pidfd < 0:
            self._pidfd = _opened(pidfd_open, self.tid)
        try:
            return pidfd_getfd(self._pidfd, fd)
        except ProcessLookupError as error:
            raise Gone from error
        except PermissionError as error:
            raise Elsewhere("its descriptors may not be looked at") from error

    def stack_pointer(self) -> int:
        """Return where the thread's stack is while its call waits for us, 0 if it does not
        (proc_pid_syscall(5)).
        """
        if self._syscall < 0:
            self._syscall = _opened(_open_syscall, self.tid)
        try:
            fields = pread(self._syscall, _SYSCALL_TEXT, 0).split()
        except ProcessLookupError as error:
            raise Gone from error
        return int(fields[-2], 16) if len(fields) > 2 else 0

    def command(self) -> str:
        """Return the name of the program that the thread runs, cut to 15 bytes (proc_pid_comm(5))."""
        if self._command is None:
            self._command = command(self.tid)
        return self._command

    def foreign_network(self) -> bool:
        """Tell whether the thread is in a network namespace that is not ours."""
        if self._foreign_network is None:
            self._foreign_network = not _same(f"/proc/{self.tid}/ns/net", "/proc/self/ns/net")
        return self._foreign_network

    def foreign_files(self) -> bool:
        """Tell whether the thread's root directory or mount namespace is not ours."""
        if self._foreign_files is None:
            self._foreign_files = not (
                _same(f"/proc/{self.tid}/root", "/proc/self/root")
                and _same(f"/proc/{self.tid}/ns/mnt", "/proc/self/ns/mnt")
            )
        return self._foreign_files


class Threads:
    """The threads that made calls lately."""

    def __init__(
        self, is_valid: Callable[[NotificationId], bool], skipped: frozenset[str] = frozenset()
    ) -> None:
        """``is_valid`` tells whether a call still waits; programs with ``skipped`` names are left alone."""
        self._skipped: Final = frozenset(name[:_COMMAND_LENGTH] for name in skipped)
        self._is_valid: Final = is_valid
        self._threads: Final[dict[int, Thread]] = {}

    def get(self, tid: int, call: NotificationId) -> Thread:
        """Return the thread that made ``call``; raise :exc:`Gone` or :exc:`Elsewhere`."""
        thread = self._threads.get(tid)
        if thread is not None and monotonic() < thread.deadline:
            return thread
        return self.reopen(tid, call)

    def reopen(self, tid: int, call: NotificationId) -> Thread:
        """Look at the thread afresh."""
        self.forget(tid)
        if len(self._threads) >= _MOST:
            for old in list(self._threads):
                self.forget(old)
        try:
            thread = Thread(tid, monotonic() + _LIFETIME)
        except Elsewhere:
            if not self._is_valid(call):
                # one that is about to be reaped may not be looked into either
                raise Gone from None
            raise
        if not self._is_valid(call):
            # the thread died and its number may already be another's: what was opened cannot be trusted
            thread.close()
            raise Gone
        self._threads[tid] = thread
        return thread

    def require_not_skipped(self, tid: int, call: NotificationId) -> Thread:
        """Return the thread that made ``call``; raise Skipped if it runs a program that is left alone."""
        thread = self.get(tid, call)
        if thread.command() in self._skipped:
            raise Skipped("it is left alone by `skip_processes` or `skip_build_tools`")
        return thread

    def knows(self, tid: int) -> bool:
        """Tell whether there is anything to forget of the thread; from any thread."""
        return tid in self._threads

    def forget(self, tid: int) -> None:
        """Drop what is known of the thread."""
        thread = self._threads.pop(tid, None)
        if thread is not None:
            thread.close()

    def forget_all(self) -> None:
        """Drop what is known: a thread is about to change its namespaces or its root."""
        for tid in list(self._threads):
            self.forget(tid)

    def read(self, tid: int, call: NotificationId, address: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``address``, fewer where the mapping ends; raise :exc:`Fault`.

        What the program has protected from itself (``PROT_NONE``) is read all the same: that is how
        ``/proc/PID/mem`` works (FOLL_FORCE), at half the price of process_vm_readv(2).
        """
        if size > _MOST_READ or address > _HIGHEST_ADDRESS or address == 0:
            raise Fault
        try:
            data = pread(self.get(tid, call).memory, size, address)
            if not data and size:
                data = pread(self.reopen(tid, call).memory, size, address)
        except OSError as error:
            if error.errno == errno.EIO:
                raise Fault from error
            raise
        if not data and size:
            raise Fault
        return data

    def string(self, tid: int, call: NotificationId, address: int) -> bytes:
        """Return the bytes up to a NUL; raise :exc:`Fault`, or OSError ENAMETOOLONG as the kernel's getname()
        would.
        """
        thread = self._threads.get(tid)
        if thread is not None and 0 < address <= _HIGHEST_ADDRESS and monotonic() < thread.deadline:
            # what nearly every call takes; all else goes the long way
            try:
                data = pread(thread.memory, _FIRST_READ, address)
            except OSError:
                data = b""
            end = data.find(b"\0")
            if end >= 0:
                return data[:end]
        data = self.read(tid, call, address, _PATH_MAX)
        end = data.find(b"\0")
        if end >= 0:
            return data[:end]
        if len(data) < _PATH_MAX:
            raise Fault
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def write(self, tid: int, address: int, data: bytes) -> None:
        """Put bytes into the program's memory; raise :exc:`Fault` where it could not have written itself."""
        if not data:
            return
        if address > _HIGHEST_ADDRESS:
            raise Fault
        try:
            written = process_vm_write(tid, address, data)
        except ProcessLookupError as error:
            raise Gone from error
        except OSError as error:
            if error.errno == errno.EFAULT:
                raise Fault from error
            raise
        if written != len(data):
            raise Fault


def command(tid: int) -> str:
    """Return the name of the program that a thread runs; raise Gone."""
    try:
        with open(f"/proc/{tid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Gone from error


def rights(tid: int) -> list[bytes]:
    """Return what decides which files a thread may use: the ids, groups and capabilities that it has now
    (proc_pid_status(5)); raise Gone.
    """
    try:
        with open(f"/proc/{tid}/status", "rb") as status:
            return [line for line in status if line.startswith((b"Uid:", b"Gid:", b"Groups:", b"CapEff:"))]
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Gone from error


def has_capability(tid: int, number: int) -> bool:
    """Tell whether a thread has a capability in our user namespace (user_namespaces(7)); raise Gone."""
    effective = next(line for line in rights(tid) if line.startswith(b"CapEff:"))
    return bool(int(effective.split()[1], 16) >> number & 1) and _same(
        f"/proc/{tid}/ns/user", "/proc/self/ns/user"
    )


def _opened(open_: Callable[[int], int], tid: int) -> int:
    try:
        return open_(tid)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Gone from error


def _open_syscall(tid: int) -> int:
    return os.open(f"/proc/{tid}/syscall", os.O_RDONLY | os.O_CLOEXEC)


def _same(theirs: str, ours: str) -> bool:
    """Compare two namespace or root links; one that may not be looked at is not ours."""
    try:
        there, here = os.stat(theirs), os.stat(ours)
    except FileNotFoundError as error:
        raise Gone from error
    except PermissionError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
