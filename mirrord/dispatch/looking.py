"""The files plane: looking at files without opening them."""

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Final

from mirrord_agent.wire.messages import Attributes, FileSystem

from mirrord.dispatch import moved
from mirrord.dispatch.places import Moved, Places, Remote, while_it_has_a_path
from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD, Row, trap, trap_paths
from mirrord.dispatch.sockets import descriptor
from mirrord.dispatch.stat import local_attributes, pack_stat, pack_statfs, pack_statx
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.link.placeholders import Identity
from mirrord.syscall import CONTINUE, SUCCESS, Call, Fail, Return, Verdict, Wait

_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_EACCESS: Final = 0x200
_STAT_FLAGS: Final = _AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | 0x800
"""And AT_NO_AUTOMOUNT."""
_ACCESS_FLAGS: Final = _AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | _AT_EACCESS
_STATX_FLAGS: Final = _STAT_FLAGS | 0x6000
"""And AT_STATX_FORCE_SYNC and AT_STATX_DONT_SYNC."""
_STATX_RESERVED: Final = 0x80000000
_INT: Final = 0xFFFFFFFF

_Pack = Callable[[Attributes, Identity], bytes]


class Looking:
    """``stat`` and its relatives, ``access``, ``readlink`` and ``statfs``."""

    def __init__(self, world: World, places: Places) -> None:
        self._places: Final = places
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return the calls that look."""
        return [
            trap("stat", partial(self.stat, follow=True)),
            trap("lstat", partial(self.stat, follow=False)),
            *trap_paths("newfstatat", self.newfstatat, directory=0, flags=3),
            *trap_paths("statx", self.statx, directory=0, flags=2),
            trap("access", self.access),
            trap("faccessat", self.faccessat),
            trap("faccessat2", self.faccessat2),
            trap("readlink", self.readlink),
            trap("readlinkat", self.readlinkat),
            trap("statfs", self.statfs),
            trap("fstatfs", self.fstatfs),
        ]

    def stat(self, call: Call, *, follow: bool) -> Verdict:
        """Look at a path (stat(2), lstat(2))."""
        flags = 0 if follow else _AT_SYMLINK_NOFOLLOW
        return self._look(call, AT_FDCWD, call.args[0], call.args[1], pack_stat, flags)

    def newfstatat(self, call: Call) -> Verdict:
        """Look at a path relative to a directory (fstatat(2))."""
        directory, path, buffer, flags = call.args[:4]
        if flags & _INT & ~_STAT_FLAGS:
            return CONTINUE
        return self._look(call, directory, path, buffer, pack_stat, flags)

    def statx(self, call: Call) -> Verdict:
        """Look at a path in full (statx(2))."""
        directory, path, flags, mask, buffer = call.args[:5]
        if flags & _INT & ~_STATX_FLAGS or mask & _STATX_RESERVED:
            return CONTINUE
        return self._look(call, directory, path, buffer, pack_statx, flags)

    def _look(self, call: Call, directory: int, path: int, buffer: int, pack: _Pack, flags: int) -> Verdict:
        empty = bool(flags & AT_EMPTY_PATH)
        if empty and not path:
            # as an empty path since Linux 6.11, EFAULT before
            return CONTINUE
        place = self._places.place(call, directory, path, empty=empty)
        if place is None or (isinstance(place, Remote) and (place.opened or place.link is not None)):
            # what is open is looked at as fstat(2) does
            return CONTINUE
        follow = not flags & _AT_SYMLINK_NOFOLLOW
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
        if call.args[3] & _INT & ~_ACCESS_FLAGS:
            return CONTINUE
        return self._access(call, call.args[0], call.args[1], call.args[2], call.args[3])

    def _access(self, call: Call, directory: int, path: int, mode: int, flags: int) -> Verdict:
        mode &= _INT
        if mode & ~7:
            return CONTINUE
        place = self._places.place(call, directory, path, empty=bool(flags & AT_EMPTY_PATH))
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
        place = self._places.place(call, directory, path, empty=True)
        if place is None:
            return CONTINUE
        if isinstance(place, Moved):
            return _link(os.readlink(place.path), buffer, room)
        if place.link is not None:
            return _link(place.path, buffer, room)
        if place.opened:
            return Wait(partial(self._linked_opened, place.path, buffer, room))
        target = self._files.known_link(place.path)
        if target is not None:
            return _link(target, buffer, room)
        return Wait(partial(self._linked, place.path, buffer, room))

    async def _linked(self, path: bytes, buffer: int, room: int) -> Verdict:
        return _link(await self._files.read_link(path), buffer, room)

    async def _linked_opened(self, path: bytes, buffer: int, room: int) -> Verdict:
        """An empty path that is no link is ENOENT (``do_readlinkat``, fs/stat.c)."""
        try:
            return await self._linked(path, buffer, room)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return Fail(errno.ENOENT)

    def statfs(self, call: Call) -> Verdict:
        """Look at the file system of a path (statfs(2))."""
        place = self._places.place(call, AT_FDCWD, call.args[0])
        if place is None:
            return CONTINUE
        if isinstance(place, Moved):
            return Return(0, ((call.args[1], moved.statfs(place.path)),))
        return Wait(partial(self._file_system, place.path, call.args[1]))

    async def _file_system(self, path: bytes, buffer: int) -> Verdict:
        found: FileSystem = await self._files.file_system(path)
        return Return(0, ((buffer, pack_statfs(found)),))

    def fstatfs(self, call: Call) -> Verdict:
        """Look at the file system of what is open (fstatfs(2))."""
        path = self._places.opened(call, call.args[0], for_use=False)
        if path is None:
            return CONTINUE
        return Wait(partial(while_it_has_a_path, partial(self._file_system, path, call.args[1])))


def _link(target: bytes, buffer: int, room: int) -> Verdict:
    return Return(min(len(target), room), ((buffer, target[:room]),))


def _reason(path: bytes) -> int:
    return errno.EACCES if os.path.lexists(path) else errno.ENOENT
