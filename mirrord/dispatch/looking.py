"""The files plane: looking at files without opening them."""

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from mirrord_agent.wire.messages import Attributes, FileSystem

from mirrord.dispatch.places import AT_FDCWD, Moved, Places, Remote
from mirrord.dispatch.row import AT_EMPTY_PATH, Row, trap, without
from mirrord.dispatch.sockets import descriptor
from mirrord.dispatch.stat import local_attributes, pack_stat, pack_statfs, pack_statx
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.link.placeholders import Identity
from mirrord.syscall import CONTINUE, SUCCESS, Call, Fail, Return, Verdict, Wait

_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_EACCESS: Final = 0x200
_STAT_FLAGS: Final = _AT_SYMLINK_NOFOLLOW | 0x800
"""And AT_NO_AUTOMOUNT."""
_STATX_FLAGS: Final = _STAT_FLAGS | 0x6000
"""And AT_STATX_FORCE_SYNC and AT_STATX_DONT_SYNC."""
_STATX_RESERVED: Final = 0x80000000
_INT: Final = 0xFFFFFFFF
_XATTR_NAME_MAX: Final = 255

_Pack = Callable[[Attributes, Identity], bytes]


class Looking:
    """``stat`` and its relatives, ``access``, ``readlink``, ``statfs`` and extended attributes."""

    def __init__(self, world: World, places: Places) -> None:
        self._places: Final = places
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return the calls that look."""
        on_path = (without(3, AT_EMPTY_PATH),)
        return [
            trap("stat", partial(self.stat, follow=True)),
            trap("lstat", partial(self.stat, follow=False)),
            trap("newfstatat", self.newfstatat, *on_path),
            trap("statx", self.statx, without(2, AT_EMPTY_PATH)),
            trap("access", self.access),
            trap("faccessat", self.faccessat),
            trap("faccessat2", self.faccessat2, *on_path),
            trap("readlink", self.readlink),
            trap("readlinkat", self.readlinkat),
            trap("statfs", self.statfs),
            trap("getxattr", partial(self.getxattr, follow=True)),
            trap("lgetxattr", partial(self.getxattr, follow=False)),
            trap("listxattr", partial(self.listxattr, follow=True)),
            trap("llistxattr", partial(self.listxattr, follow=False)),
        ]

    def stat(self, call: Call, *, follow: bool) -> Verdict:
        """Look at a path (stat(2), lstat(2))."""
        return self._look(call, AT_FDCWD, call.args[0], call.args[1], pack_stat, follow=follow)

    def newfstatat(self, call: Call) -> Verdict:
        """Look at a path relative to a directory (fstatat(2))."""
        directory, path, buffer, flags = call.args[:4]
        if flags & _INT & ~_STAT_FLAGS:
            return CONTINUE
        return self._look(call, directory, path, buffer, pack_stat, follow=not flags & _AT_SYMLINK_NOFOLLOW)

    def statx(self, call: Call) -> Verdict:
        """Look at a path in full (statx(2))."""
        directory, path, flags, mask, buffer = call.args[:5]
        if flags & _INT & ~_STATX_FLAGS or mask & _STATX_RESERVED:
            return CONTINUE
        return self._look(call, directory, path, buffer, pack_statx, follow=not flags & _AT_SYMLINK_NOFOLLOW)

    def _look(
        self, call: Call, directory: int, path: int, buffer: int, pack: _Pack, *, follow: bool
    ) -> Verdict:
        place = self._places.place(call, directory, path)
        if place is None or (isinstance(place, Remote) and place.link is not None):
            return CONTINUE
        if isinstance(place, Moved):
            return Return(0, ((buffer, pack(*local_attributes(place.path, follow=follow))),))
        known = self._files.known(place.path, follow=follow)
        if known is not None:
            return Return(0, ((buffer, pack(*known)),))
        return Wait(partial(self._looked, place.path, follow, buffer, pack))

    async def _looked(self, path: bytes, follow: bool, buffer: int, pack: _Pack) -> Verdict:
        return Return(0, ((buffer, pack(*await self._files.stat(path, follow=follow))),))

    def access(self, call: Call) -> Verdict:
        """Check one's right to a path (access(2))."""
        return self._access(call, AT_FDCWD, call.args[0], call.args[1], 0)

    def faccessat(self, call: Call) -> Verdict:
        """Check one's right to a path relative to a directory (faccessat(2), which has no flags)."""
        return self._access(call, call.args[0], call.args[1], call.args[2], 0)

    def faccessat2(self, call: Call) -> Verdict:
        """Check one's right to a path, with flags (faccessat2(2))."""
        if call.args[3] & _INT & ~(_AT_SYMLINK_NOFOLLOW | _AT_EACCESS):
            return CONTINUE
        return self._access(call, call.args[0], call.args[1], call.args[2], call.args[3])

    def _access(self, call: Call, directory: int, path: int, mode: int, flags: int) -> Verdict:
        mode &= _INT
        if mode & ~7:
            return CONTINUE
        place = self._places.place(call, directory, path)
        if place is None:
            return CONTINUE
        follow, effective = not flags & _AT_SYMLINK_NOFOLLOW, bool(flags & _AT_EACCESS)
        if isinstance(place, Moved):
            allowed = os.access(place.path, mode, effective_ids=effective, follow_symlinks=follow)
            return SUCCESS if allowed else Fail(_reason(place.path))
        self._files.require(place.path, follow=follow)
        return Wait(partial(self._allowed, place.path, mode, follow, effective))

    async def _allowed(self, path: bytes, mode: int, follow: bool, effective: bool) -> Verdict:
        await self._files.access(path, mode, follow=follow, effective=effective)
        return SUCCESS

    def readlink(self, call: Call) -> Verdict:
        """Read a symbolic link (readlink(2))."""
        return self._readlink(call, AT_FDCWD, call.args[0], call.args[1], call.args[2])

    def readlinkat(self, call: Call) -> Verdict:
        """Read a symbolic link relative to a directory (readlinkat(2))."""
        return self._readlink(call, call.args[0], call.args[1], call.args[2], call.args[3])

    def _readlink(self, call: Call, directory: int, path: int, buffer: int, size: int) -> Verdict:
        room = descriptor(size)
        if room <= 0:
            # EINVAL, whatever the path is
            return CONTINUE
        place = self._places.place(call, directory, path)
        if place is None:
            return CONTINUE
        if isinstance(place, Moved):
            return _link(os.readlink(place.path), buffer, room)
        if place.link is not None:
            return _link(place.path, buffer, room)
        target = self._files.known_link(place.path)
        if target is not None:
            return _link(target, buffer, room)
        return Wait(partial(self._linked, place.path, buffer, room))

    async def _linked(self, path: bytes, buffer: int, room: int) -> Verdict:
        return _link(await self._files.read_link(path), buffer, room)

    def statfs(self, call: Call) -> Verdict:
        """Look at the file system of a path (statfs(2))."""
        place = self._places.place(call, AT_FDCWD, call.args[0])
        if not isinstance(place, Remote):
            return CONTINUE
        return Wait(partial(self._file_system, place.path, call.args[1]))

    async def _file_system(self, path: bytes, buffer: int) -> Verdict:
        found: FileSystem = await self._files.file_system(path)
        return Return(0, ((buffer, pack_statfs(found)),))

    def getxattr(self, call: Call, *, follow: bool) -> Verdict:
        """Read an extended attribute (getxattr(2), lgetxattr(2))."""
        place = self._places.place(call, AT_FDCWD, call.args[0])
        if place is None:
            return CONTINUE
        name = call.string(call.args[1])
        if not 0 < len(name) <= _XATTR_NAME_MAX:
            return Fail(errno.ERANGE)
        if isinstance(place, Moved):
            return _value(os.getxattr(place.path, name, follow_symlinks=follow), call.args[2], call.args[3])
        if number := self._files.known_xattr_errno(place.path, name, follow=follow):
            return Fail(number)
        return Wait(partial(self._xattr, place.path, name, follow, call.args[2], call.args[3]))

    async def _xattr(self, path: bytes, name: bytes, follow: bool, buffer: int, room: int) -> Verdict:
        return _value(await self._files.xattr(path, name, follow=follow), buffer, room)

    def listxattr(self, call: Call, *, follow: bool) -> Verdict:
        """List extended attributes (listxattr(2), llistxattr(2))."""
        place = self._places.place(call, AT_FDCWD, call.args[0])
        if place is None:
            return CONTINUE
        if isinstance(place, Moved):
            names = os.listxattr(place.path, follow_symlinks=follow)
            return _value(b"".join(os.fsencode(name) + b"\0" for name in names), call.args[1], call.args[2])
        if self._files.is_known_without_xattrs(place.path, follow=follow):
            return SUCCESS
        return Wait(partial(self._xattrs, place.path, follow, call.args[1], call.args[2]))

    async def _xattrs(self, path: bytes, follow: bool, buffer: int, room: int) -> Verdict:
        return _value(await self._files.xattrs(path, follow=follow), buffer, room)


def _value(value: bytes, buffer: int, room: int) -> Verdict:
    """Give a value as xattr calls do: without room only its size is asked for."""
    if not room:
        return Return(len(value))
    return Return(len(value), ((buffer, value),)) if len(value) <= room else Fail(errno.ERANGE)


def _link(target: bytes, buffer: int, room: int) -> Verdict:
    return Return(min(len(target), room), ((buffer, target[:room]),))


def _reason(path: bytes) -> int:
    return errno.EACCES if os.path.lexists(path) else errno.ENOENT
