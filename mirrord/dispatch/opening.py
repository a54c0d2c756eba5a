"""The files plane: opening. What is remote is given to the program as a descriptor of its placeholder."""

import errno
import os
import stat
from functools import partial
from typing import Final

from mirrord.dispatch.moved import umask
from mirrord.dispatch.places import Moved, Places, Remote
from mirrord.dispatch.row import AT_FDCWD, Row, trap
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.syscall import CONTINUE, Call, Fail, GiveFd, OpenPath, Verdict, Wait

_ACCESS: Final = os.O_WRONLY | os.O_RDWR
_WRITING: Final = _ACCESS | os.O_CREAT | os.O_TRUNC
_CREAT: Final = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_INT: Final = 0x7FFFFFFF
"""What os.open() takes of flags; the kernel ignores the rest, and the sign (include/linux/fcntl.h)."""
_MODE: Final = 0o7777
_O_TMPFILE: Final = 0o20000000 | os.O_DIRECTORY
_OPEN_HOW: Final = 24
"""``sizeof(struct open_how)`` of its first version: flags, mode, resolve (openat2(2))."""
_VALID_FLAGS: Final = 0o37777703
"""VALID_OPEN_FLAGS (include/linux/fcntl.h)."""
_O_PATH_FLAGS: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_PATH | os.O_CLOEXEC
_VALID_RESOLVE: Final = 0x3F
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE_IN_ROOT: Final = 0x10
_RESOLVE_CACHED: Final = 0x20


class Opening:
    """``open`` and its relatives."""

    def __init__(self, world: World, places: Places) -> None:
        self._places: Final = places
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return the calls that open."""
        return [
            trap("open", self.open),
            trap("creat", self.creat),
            trap("openat", self.openat),
            trap("openat2", self.openat2),
        ]

    def open(self, call: Call) -> Verdict:
        """Open a path (open(2))."""
        return self._open(call, AT_FDCWD, call.args[0], call.args[1], call.args[2])

    def creat(self, call: Call) -> Verdict:
        """Create a file (creat(2))."""
        return self._open(call, AT_FDCWD, call.args[0], _CREAT, call.args[1])

    def openat(self, call: Call) -> Verdict:
        """Open a path relative to a directory (openat(2))."""
        return self._open(call, call.args[0], call.args[1], call.args[2], call.args[3])

    def openat2(self, call: Call) -> Verdict:
        """Open a path with more wishes (openat2(2)); what the kernel would call invalid is left to it."""
        if call.args[3] < _OPEN_HOW:
            return CONTINUE
        how = call.read(call.args[2], _OPEN_HOW)
        flags, mode, resolve = (int.from_bytes(how[at : at + 8], "little") for at in (0, 8, 16))
        if not _is_valid(flags, mode, resolve):
            return CONTINUE
        return self._open(call, call.args[0], call.args[1], flags, mode, resolve)

    def _open(
        self, call: Call, directory: int, path: int, flags: int, mode: int, resolve: int = 0
    ) -> Verdict:
        flags &= _INT
        if flags & os.O_PATH:
            # all other flags are ignored then
            flags &= _O_PATH_FLAGS
        writing = bool(flags & _WRITING) or flags & _O_TMPFILE == _O_TMPFILE
        place = self._places.place(call, directory, path, write=writing, resolve=resolve)
        if place is None:
            return CONTINUE
        cloexec = bool(flags & os.O_CLOEXEC)
        if isinstance(place, Moved):
            if flags & os.O_PATH:
                return Wait(partial(self._moved_path, place.path, flags, cloexec))
            if writing:
                mode &= ~umask(call)
            return GiveFd(os.open(place.path, flags, mode & _MODE), cloexec)
        if resolve & _RESOLVE_CACHED:
            return Fail(errno.EAGAIN)
        if writing:
            return Wait(partial(self._refused, call, path, place, flags, cloexec))
        if place.link is not None and self._files.placeholders.complete(place.link):
            return CONTINUE
        if not resolve:
            self._files.require(place.path, follow=not flags & os.O_NOFOLLOW)
        return Wait(partial(self._given, call, path, place, flags & ~os.O_CLOEXEC, cloexec))

    async def _given(self, call: Call, address: int, place: Remote, flags: int, cloexec: bool) -> Verdict:
        if flags & os.O_PATH:
            fd, name = await self._files.locate(place.path, flags, base=place.base, resolve=place.resolve)
            return OpenPath(fd, name, cloexec)
        fd = await self._files.open(place.path, flags, base=place.base, resolve=place.resolve)
        if call.watched:
            call.here(address, os.readlink(b"/proc/self/fd/%d" % fd))
        return GiveFd(fd, cloexec)

    async def _moved_path(self, path: bytes, flags: int, cloexec: bool) -> Verdict:
        os.close(os.open(path, flags | os.O_CLOEXEC))
        parent, name = os.path.split(path if flags & os.O_NOFOLLOW else os.path.realpath(path))
        return OpenPath(os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), name or b".", cloexec)

    async def _refused(self, call: Call, address: int, place: Remote, flags: int, cloexec: bool) -> Verdict:
        """Refuse to write, in the order in which a read-only mount does (``do_open``, fs/namei.c)."""
        path, files = place.path, self._files
        creating, exclusive = bool(flags & os.O_CREAT), bool(flags & os.O_CREAT and flags & os.O_EXCL)
        follow = not (flags & os.O_NOFOLLOW or exclusive)
        if flags & _O_TMPFILE == _O_TMPFILE:
            await files.stat(path, follow=follow, directory=True)
            return Fail(errno.EROFS)
        if creating and path.endswith(b"/"):
            return Fail(errno.EISDIR)
        try:
            found, _ = await files.stat(path, follow=follow, base=place.base, resolve=place.resolve)
        except FileNotFoundError:
            if not creating:
                raise
            await files.stat(os.path.dirname(path), follow=True, directory=True)
            return Fail(errno.EROFS)
        if exclusive:
            return Fail(errno.EEXIST)
        if stat.S_ISLNK(found.mode):
            return Fail(errno.ELOOP)
        if stat.S_ISDIR(found.mode):
            return Fail(errno.EISDIR)
        if flags & os.O_DIRECTORY:
            return Fail(errno.ENOTDIR)
        if not flags & (_ACCESS | os.O_TRUNC):
            return await self._given(call, address, place, flags & ~(os.O_CREAT | os.O_CLOEXEC), cloexec)
        wanted = os.W_OK | (0 if flags & os.O_WRONLY else os.R_OK)
        await files.access(path, wanted, follow=True, effective=True)
        return Fail(errno.EROFS)


def _is_valid(flags: int, mode: int, resolve: int) -> bool:
    """Tell what ``build_open_flags`` would not refuse (fs/open.c)."""
    makes = bool(flags & os.O_CREAT) or flags & _O_TMPFILE == _O_TMPFILE
    return not (
        flags & ~_VALID_FLAGS
        or resolve & ~_VALID_RESOLVE
        or (resolve & _RESOLVE_BENEATH and resolve & _RESOLVE_IN_ROOT)
        or (mode & ~_MODE if makes else mode)
        or (flags & os.O_PATH and flags & ~_O_PATH_FLAGS)
        or (flags & 0o20000000 and flags & _O_TMPFILE != _O_TMPFILE)
        or (flags & os.O_CREAT and flags & os.O_DIRECTORY)
    )
