"""The files plane: opening remote files for reading, and looking at them.

Each call's path is decided by the rules; a local one is continued at once. A path is what its directory makes
it: one that is relative to a remote directory that the program has open is remote, any other relative path is
local.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from mirrord_agent.wire.messages import Attributes

from mirrord.config.paths import Side, normalise
from mirrord.dispatch.row import AT_EMPTY_PATH, Row, trap, without
from mirrord.dispatch.sockets import descriptor
from mirrord.dispatch.stat import local_attributes, pack_stat, pack_statx
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.link.placeholders import Identity
from mirrord.syscall import CONTINUE, SUCCESS, Call, Fail, GiveFd, Return, Verdict, Wait

_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_EACCESS: Final = 0x200
_XATTRS: Final = ("getxattr", "lgetxattr", "listxattr", "llistxattr")
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CREAT: Final = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_INT: Final = 0x7FFFFFFF
"""What os.open() takes of flags; the kernel ignores the rest, and the sign (include/linux/fcntl.h)."""
_MODE: Final = 0o7777
_O_TMPFILE: Final = 0o20000000
_OPEN_HOW: Final = 24
"""``sizeof(struct open_how)`` of its first version: flags, mode, resolve (openat2(2))."""


_Pack = Callable[[Attributes, Identity], tuple[tuple[int, bytes], ...]]


@dataclass(frozen=True, slots=True)
class Remote:
    """A path that is looked up in the target."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """A path that a mapping has led to another one on this machine."""

    path: bytes


class Files:
    """Files of the target."""

    def __init__(self, world: World) -> None:
        self._paths: Final = world.paths
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return the calls of this plane; those that act on an open descriptor alone are never trapped."""
        if not self._paths.active:
            return []
        on_path = (without(3, AT_EMPTY_PATH),)
        return [
            trap("open", self.open),
            trap("creat", self.creat),
            trap("openat", self.openat),
            trap("openat2", self.openat2),
            trap("stat", partial(self.stat, follow=True)),
            trap("lstat", partial(self.stat, follow=False)),
            trap("newfstatat", self.newfstatat, *on_path),
            trap("statx", self.statx, without(2, AT_EMPTY_PATH)),
            trap("access", self.access),
            trap("faccessat", self.faccessat),
            trap("faccessat2", self.faccessat2, *on_path),
            *(trap(name, self.xattr) for name in _XATTRS),
            trap("readlink", self.readlink),
            trap("readlinkat", self.readlinkat),
        ]

    def open(self, call: Call) -> Verdict:
        """Open a path (open(2))."""
        return self._open(call, _AT_FDCWD, call.args[0], call.args[1], call.args[2])

    def creat(self, call: Call) -> Verdict:
        """Create a file (creat(2))."""
        return self._open(call, _AT_FDCWD, call.args[0], _CREAT, call.args[1])

    def openat(self, call: Call) -> Verdict:
        """Open a path relative to a directory (openat(2))."""
        return self._open(call, call.args[0], call.args[1], call.args[2], call.args[3])

    def openat2(self, call: Call) -> Verdict:
        """Open a path with more wishes (openat2(2))."""
        if call.args[3] < _OPEN_HOW:
            return CONTINUE
        how = call.read(call.args[2], 16)
        flags, mode = int.from_bytes(how[:8], "little"), int.from_bytes(how[8:], "little")
        return self._open(call, call.args[0], call.args[1], flags, mode)

    def _open(self, call: Call, directory: int, path: int, flags: int, mode: int) -> Verdict:
        flags &= _INT
        writing = bool(flags & _WRITING) or flags & _O_TMPFILE == _O_TMPFILE
        place = self._place(call, directory, path, write=writing)
        if place is None:
            return CONTINUE
        cloexec = bool(flags & os.O_CLOEXEC)
        if isinstance(place, Moved):
            return GiveFd(os.open(place.path, flags, mode & _MODE), cloexec)
        if writing:
            return Fail(errno.EROFS)
        return Wait(partial(self._given, place.path, flags & ~os.O_CLOEXEC, cloexec))

    async def _given(self, path: bytes, flags: int, cloexec: bool) -> Verdict:
        return GiveFd(await self._files.open(path, flags), cloexec)

    def stat(self, call: Call, *, follow: bool) -> Verdict:
        """Look at a path (stat(2), lstat(2))."""
        return self._stat(call, _AT_FDCWD, call.args[0], call.args[1], follow=follow)

    def newfstatat(self, call: Call) -> Verdict:
        """Look at a path relative to a directory (fstatat(2))."""
        follow = not call.args[3] & _AT_SYMLINK_NOFOLLOW
        return self._stat(call, call.args[0], call.args[1], call.args[2], follow=follow)

    def _stat(self, call: Call, directory: int, path: int, buffer: int, *, follow: bool) -> Verdict:
        place = self._place(call, directory, path)
        return (
            CONTINUE
            if place is None
            else self._look(place, follow, lambda a, i: ((buffer, pack_stat(a, i)),))
        )

    def statx(self, call: Call) -> Verdict:
        """Look at a path in full (statx(2))."""
        place = self._place(call, call.args[0], call.args[1])
        follow, buffer = not call.args[2] & _AT_SYMLINK_NOFOLLOW, call.args[4]
        return (
            CONTINUE
            if place is None
            else self._look(place, follow, lambda a, i: ((buffer, pack_statx(a, i)),))
        )

    def _look(self, place: Remote | Moved, follow: bool, pack: _Pack) -> Verdict:
        if isinstance(place, Moved):
            return Return(0, pack(*local_attributes(place.path, follow=follow)))
        return Wait(partial(self._looked, place.path, follow, pack))

    async def _looked(self, path: bytes, follow: bool, pack: _Pack) -> Verdict:
        return Return(0, pack(*await self._files.stat(path, follow=follow)))

    def access(self, call: Call) -> Verdict:
        """Check one's right to a path (access(2))."""
        return self._access(call, _AT_FDCWD, call.args[0], call.args[1], 0)

    def faccessat(self, call: Call) -> Verdict:
        """Check one's right to a path relative to a directory (faccessat(2), which has no flags)."""
        return self._access(call, call.args[0], call.args[1], call.args[2], 0)

    def faccessat2(self, call: Call) -> Verdict:
        """Check one's right to a path, with flags (faccessat2(2))."""
        return self._access(call, call.args[0], call.args[1], call.args[2], call.args[3])

    def _access(self, call: Call, directory: int, path: int, mode: int, flags: int) -> Verdict:
        mode &= 0xFFFFFFFF
        if mode & ~7:
            return CONTINUE
        place = self._place(call, directory, path)
        if place is None:
            return CONTINUE
        follow, effective = not flags & _AT_SYMLINK_NOFOLLOW, bool(flags & _AT_EACCESS)
        if isinstance(place, Moved):
            allowed = os.access(place.path, mode, effective_ids=effective, follow_symlinks=follow)
            return SUCCESS if allowed else Fail(_reason(place.path))
        return Wait(partial(self._allowed, place.path, mode, follow, effective))

    async def _allowed(self, path: bytes, mode: int, follow: bool, effective: bool) -> Verdict:
        await self._files.access(path, mode, follow=follow, effective=effective)
        return SUCCESS

    def xattr(self, call: Call) -> Verdict:
        """Say that a remote file has no extended attributes (xattr(7)): they are not carried over yet."""
        place = self._place(call, _AT_FDCWD, call.args[0])
        return CONTINUE if place is None else Fail(errno.ENOTSUP)

    def readlink(self, call: Call) -> Verdict:
        """Read a symbolic link (readlink(2))."""
        return self._readlink(call, _AT_FDCWD, call.args[0], call.args[1], call.args[2])

    def readlinkat(self, call: Call) -> Verdict:
        """Read a symbolic link relative to a directory (readlinkat(2))."""
        return self._readlink(call, call.args[0], call.args[1], call.args[2], call.args[3])

    def _readlink(self, call: Call, directory: int, path: int, buffer: int, size: int) -> Verdict:
        room = descriptor(size)
        place = self._place(call, directory, path)
        if place is None:
            return CONTINUE
        if room <= 0:
            return Fail(errno.EINVAL)
        if isinstance(place, Moved):
            return _link(os.readlink(place.path), buffer, room)
        return Wait(partial(self._linked, place.path, buffer, room))

    async def _linked(self, path: bytes, buffer: int, room: int) -> Verdict:
        return _link(await self._files.read_link(path), buffer, room)

    def _place(
        self, call: Call, directory: int, address: int, *, write: bool = False
    ) -> Remote | Moved | None:
        """Decide where a path is; None for one that the kernel resolves. Raise OSError ENOENT for what must
        not be there.
        """
        path = call.string(address)
        if not path.startswith(b"/"):
            return self._relative(call, descriptor(directory), path)
        decision = self._paths.decide(path, write=write)
        if decision.side is Side.LOCAL:
            moved = decision.path not in (path, normalise(path)) or self._leaves_the_target(path)
            return Moved(decision.path) if moved else None
        call.require_files()
        if decision.side is Side.NOT_FOUND:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return Remote(_kept_slash(decision.path, path))

    def _leaves_the_target(self, path: bytes) -> bool:
        """Tell whether a path goes up out of a remote directory, which the kernel could not do here."""
        inside, up, _ = path.partition(b"/..")
        return bool(up and inside) and self._paths.decide(inside, write=False).side is Side.REMOTE

    def _relative(self, call: Call, directory: int, path: bytes) -> Remote | None:
        if directory == _AT_FDCWD or not path or not self._files.placeholders.in_use:
            return None
        remote = self._files.placeholders.remote_path(call.descriptor_path(directory))
        return None if remote is None else Remote(os.path.join(remote, path))


def _kept_slash(path: bytes, asked: bytes) -> bytes:
    """Keep a trailing slash, which demands a directory and follows a link (path_resolution(7))."""
    return path + b"/" if asked.endswith((b"/", b"/.")) and path != b"/" else path


def _link(target: bytes, buffer: int, room: int) -> Verdict:
    return Return(min(len(target), room), ((buffer, target[:room]),))


def _reason(path: bytes) -> int:
    return errno.EACCES if os.path.lexists(path) else errno.ENOENT
