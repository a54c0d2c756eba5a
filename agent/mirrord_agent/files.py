"""File calls in the target: resolved inside its root (openat2(2)), on threads that have its credentials.

Magic links of ``/proc`` are not followed that way: paths through ``/proc/PID/root``, ``cwd``, ``exe`` or
``fd`` give ELOOP or EXDEV. What is endless or no file at all (devices, FIFOs) has no content here: ENOTSUP; a
socket gives ENXIO, as open(2) does.
"""

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, TypeVar

from mirrord_agent import linux
from mirrord_agent.credentials import become
from mirrord_agent.errors import AgentError
from mirrord_agent.target import Target
from mirrord_agent.wire.messages import Attributes, FileSystem, OpenFile, Stat

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

    def open(self, path: bytes, flags: int, *, base: bytes | None = None, resolve: int = 0) -> int:
        """Open a path inside the root; ``resolve`` limits it further, to what is below ``base`` if that is
        given.
        """
        if b"\0" in path:
            raise OSError(errno.EINVAL, "a path with a NUL")
        if base is None:
            return _opened(self.root, path, flags, _RESOLVE | resolve)
        if not resolve & (linux.RESOLVE_BENEATH | _RESOLVE):
            raise OSError(errno.EINVAL, "a base that nothing keeps the path in")
        directory = _opened(self.root, base, os.O_PATH | os.O_DIRECTORY, _RESOLVE)
        try:
            return _opened(directory, path, flags, resolve)
        finally:
            os.close(directory)

    def path_of(self, fd: int) -> bytes | None:
        """Return the path of an open file in the target, None where it has none any more."""
        path, root = (os.readlink(b"/proc/self/fd/%d" % one) for one in (fd, self.root))
        if path.endswith(b" (deleted)") and not os.path.samestat(os.fstat(fd), _status(path)):
            return None
        if root == b"/":
            return path if path.startswith(b"/") else None
        if path == root:
            return b"/"
        return path[len(root) :] if path.startswith(root + b"/") else None

    def real(self, fd: int, asked: bytes) -> bytes | None:
        """Return the path of an open file where it is not the one that was asked for."""
        path = self.path_of(fd)
        return None if path == asked else path

    def attributes(self, path: bytes, follow: bool) -> Attributes:
        """Return what ``statx`` tells of a path."""
        return self.stat(Stat(path=path, follow=follow))

    def stat(self, request: Stat) -> Attributes:
        """Return what ``statx`` tells of a path."""
        flags = (0 if request.follow else os.O_NOFOLLOW) | (os.O_DIRECTORY if request.directory else 0)
        with self._found(
            request.path, os.O_PATH | flags, base=request.base, resolve=request.resolve
        ) as found:
            return attributes_of(found, self.real(found, request.path))

    def read_link(self, path: bytes) -> bytes:
        """Return where a symbolic link points; EINVAL if it is none."""
        with self._found(path, os.O_PATH | os.O_NOFOLLOW) as fd:
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                # readlink of an empty name says ENOENT there
                raise OSError(errno.EINVAL, "no symbolic link")
            return os.readlink(b"", dir_fd=fd)

    def access(self, path: bytes, mode: int, follow: bool, effective: bool) -> None:
        """Check access as faccessat2(2) does; raise OSError."""
        flags = linux.AT_EMPTY_PATH | (linux.AT_EACCESS if effective else 0)
        with self._found(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW)) as fd:
            linux.faccessat2(fd, b"", mode, flags)

    def open_content(self, request: OpenFile) -> tuple[Attributes, int | None]:
        """Return a file's attributes, and a descriptor to read it if it is a regular one."""
        flags = request.flags & (os.O_NOFOLLOW | os.O_DIRECTORY)
        with self._found(
            request.path, os.O_PATH | flags, base=request.base, resolve=request.resolve
        ) as found:
            attributes = attributes_of(found, self.real(found, request.path))
            if not _has_content(attributes.mode):
                return attributes, None
            # the same file again, now to read: a path could be another one by now, and opening a FIFO has
            # effects
            wanted = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (request.flags & os.O_NOATIME)
            return attributes, os.open(f"/proc/self/fd/{found}", wanted)

    def file_system(self, path: bytes) -> FileSystem:
        """Return what ``statfs`` tells of a path."""
        with self._found(path, os.O_PATH) as fd:
            kind, bsize, blocks, bfree, bavail, files, ffree, *fsid, namelen, frsize, flags = linux.fstatfs(
                fd
            )
        return FileSystem(
            kind=kind,
            bsize=bsize,
            blocks=blocks,
            bfree=bfree,
            bavail=bavail,
            files=files,
            ffree=ffree,
            fsid=(fsid[0], fsid[1]),
            namelen=namelen,
            frsize=frsize,
            flags=flags,
        )

    def xattr(self, path: bytes, follow: bool, name: bytes) -> bytes:
        """Return an extended attribute (getxattr(2))."""
        with self._found(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW)) as fd:
            return os.getxattr(f"/proc/self/fd/{fd}", name)

    def xattrs(self, path: bytes, follow: bool) -> bytes:
        """Return the names of the extended attributes, each with a NUL (listxattr(2))."""
        with self._found(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW)) as fd:
            return b"".join(os.fsencode(name) + b"\0" for name in os.listxattr(f"/proc/self/fd/{fd}"))

    @contextmanager
    def _found(
        self, path: bytes, flags: int, *, base: bytes | None = None, resolve: int = 0
    ) -> Iterator[int]:
        fd = self.open(path, flags, base=base, resolve=resolve)
        try:
            yield fd
        finally:
            os.close(fd)


def _opened(directory: int, path: bytes, flags: int, resolve: int) -> int:
    for _ in range(_ATTEMPTS):
        try:
            return linux.openat2(directory, path, flags, resolve=resolve)
        except BlockingIOError:
            # a rename elsewhere raced with ".." in the path: the kernel wants it asked again
            continue
    raise OSError(errno.EAGAIN, "renames race with the path")


def _status(path: bytes) -> os.stat_result:
    """Return a status, of nothing at all for a path that is not there."""
    try:
        return os.lstat(path)
    except OSError:
        return os.stat_result((0,) * 10)


def attributes_of(fd: int, real: bytes | None = None) -> Attributes:
    """Return what ``statx`` tells of an open file."""
    return as_message(linux.statx(fd, b"", linux.AT_EMPTY_PATH), real)


def as_message(found: linux.Statx, real: bytes | None) -> Attributes:
    """Return what ``statx`` told as a message."""
    return Attributes(**{name: getattr(found, name) for name in linux.Statx.__slots__}, real=real)


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
