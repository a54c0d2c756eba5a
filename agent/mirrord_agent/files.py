"""File calls in the target: resolved inside its root (openat2(2)), on threads that have its credentials.

Magic links of ``/proc`` are not followed that way: paths through ``/proc/PID/root``, ``cwd``, ``exe`` or
``fd`` give ELOOP or EXDEV. What is endless or no file at all (devices, FIFOs) has no content here: ENOTSUP; a
socket gives ENXIO, as open(2) does.
"""

import asyncio
import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from mirrord_agent import linux
from mirrord_agent.credentials import become
from mirrord_agent.errors import AgentError
from mirrord_agent.target import Target
from mirrord_agent.wire.messages import PAGE, Attributes, Listing

_T = TypeVar("_T")
_THREADS: Final = 4
"""One file system that hangs must not hold all file calls."""
_AT_ONCE: Final = 64
"""Calls whose results may be in memory at once."""
_ATTEMPTS: Final = 32
_RESOLVE: Final = linux.RESOLVE_IN_ROOT


class Files:
    """Runs file calls as the target; :meth:`run` is the way in."""

    def __init__(self, target: Target) -> None:
        self.root: Final = target.root
        self._threads: Final = ThreadPoolExecutor(
            _THREADS, "files", initializer=become, initargs=(target.credentials,)
        )
        self._turns: Final = asyncio.Semaphore(_AT_ONCE)
        self._names: tuple[tuple[int, int, int], list[bytes]] | None = None

    async def check(self) -> None:
        """Take on the target's credentials; raise AgentError where that is not allowed."""
        try:
            await self.run(os.getpid)
        except RuntimeError as error:
            raise AgentError("the agent may not act with the credentials of the target") from error

    async def run(self, call: Callable[..., _T], *args: object) -> _T:
        """Run a call on one of the threads; raise what it raises."""
        async with self._turns:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)

    # The following run on the threads.

    def open(self, path: bytes, flags: int) -> int:
        """Open a path inside the root."""
        if b"\0" in path:
            raise OSError(errno.EINVAL, "a path with a NUL")
        for _ in range(_ATTEMPTS):
            try:
                return linux.openat2(self.root, path, flags, resolve=_RESOLVE)
            except BlockingIOError:
                # a rename elsewhere raced with ".." in the path: the kernel wants it asked again
                continue
        raise OSError(errno.EAGAIN, "renames race with the path")

    def attributes(self, path: bytes, follow: bool) -> Attributes:
        """Return what ``statx`` tells of a path."""
        fd = self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        try:
            return attributes_of(fd)
        finally:
            os.close(fd)

    def read_link(self, path: bytes) -> bytes:
        """Return where a symbolic link points; EINVAL if it is none."""
        fd = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                # readlink of an empty name says ENOENT there
                raise OSError(errno.EINVAL, "no symbolic link")
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    def access(self, path: bytes, mode: int, follow: bool, effective: bool) -> None:
        """Check access as faccessat2(2) does; raise OSError."""
        fd = self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        flags = linux.AT_EMPTY_PATH | (linux.AT_EACCESS if effective else 0)
        try:
            linux.faccessat2(fd, b"", mode, flags)
        finally:
            os.close(fd)

    def open_content(self, path: bytes, follow: bool) -> tuple[Attributes, int | None]:
        """Return a file's attributes, and a descriptor to read it if it is a regular one."""
        found = self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        try:
            attributes = attributes_of(found)
            if not _has_content(attributes.mode):
                return attributes, None
            # the same file again, now to read: a path could be another one by now, and opening a FIFO has
            # effects
            return attributes, os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(found)

    def listing(self, path: bytes, after: bytes | None) -> Listing:
        """Return one page of a directory."""
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            attributes = attributes_of(fd)
            names = self._sorted_names(fd, attributes, fresh=after is None)
            begin = 0 if after is None else bisect_right(names, after)
            page = names[begin : begin + PAGE]
            entries = tuple((name, entry) for name in page if (entry := _entry(fd, name)) is not None)
            return Listing(attributes=attributes, entries=entries, more=begin + PAGE < len(names))
        finally:
            os.close(fd)

    def _sorted_names(self, fd: int, attributes: Attributes, *, fresh: bool) -> list[bytes]:
        """Return the names in a directory; later pages of a large one come from the list of its first."""
        key = (attributes.dev, attributes.ino, attributes.mtime_ns)
        known = self._names
        if not fresh and known is not None and known[0] == key:
            return known[1]
        names = sorted(os.fsencode(name) for name in os.listdir(fd))
        self._names = (key, names) if len(names) > PAGE else None
        return names


def attributes_of(fd: int) -> Attributes:
    """Return what ``statx`` tells of an open file."""
    return _as_message(linux.statx(fd, b"", linux.AT_EMPTY_PATH))


def _entry(directory: int, name: bytes) -> Attributes | None:
    try:
        return _as_message(linux.statx(directory, name, linux.AT_SYMLINK_NOFOLLOW))
    except FileNotFoundError:
        return None


def _as_message(found: linux.Statx) -> Attributes:
    return Attributes(**{name: getattr(found, name) for name in linux.Statx.__slots__})


def _has_content(mode: int) -> bool:
    """Tell whether a file has content to send; raise OSError for one that is endless or cannot be opened."""
    if stat.S_ISREG(mode):
        return True
    if stat.S_ISDIR(mode):
        return False
    if stat.S_ISLNK(mode):
        # what open(2) with O_NOFOLLOW says
        raise OSError(errno.ELOOP, "a symbolic link")
    raise OSError(errno.ENXIO if stat.S_ISSOCK(mode) else errno.ENOTSUP, "no regular file")
