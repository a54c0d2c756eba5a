"""The files plane: extended attributes of files (xattr(7))."""

import errno
import os
from functools import partial
from typing import Final

from mirrord.dispatch.places import Moved, Places, while_it_has_a_path
from mirrord.dispatch.row import AT_FDCWD, Row, refuse, trap
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.syscall import CONTINUE, SUCCESS, Call, Fail, Return, Verdict, Wait

_XATTR_NAME_MAX: Final = 255
_NEWER: Final = (
    *("getxattrat", "setxattrat", "listxattrat", "removexattrat"),
    *("file_getattr", "file_setattr"),
)
"""Calls of Linux 6.13 and 6.17 that C libraries and tools make up for where they are missing, by calls that
know remote files.
"""


class Xattrs:
    """Calls that read extended attributes, of a path or of what is open."""

    def __init__(self, world: World, places: Places) -> None:
        self._places: Final = places
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return these calls."""
        return [
            trap("getxattr", partial(self.getxattr, follow=True)),
            trap("lgetxattr", partial(self.getxattr, follow=False)),
            trap("listxattr", partial(self.listxattr, follow=True)),
            trap("llistxattr", partial(self.listxattr, follow=False)),
            trap("fgetxattr", self.fgetxattr),
            trap("flistxattr", self.flistxattr),
            *(refuse(name, errno.ENOSYS) for name in _NEWER),
        ]

    def getxattr(self, call: Call, *, follow: bool) -> Verdict:
        """Read an extended attribute (getxattr(2), lgetxattr(2))."""
        place = self._places.place(call, AT_FDCWD, call.args[0])
        if place is None:
            return CONTINUE
        name = _xattr_name(call)
        if isinstance(place, Moved):
            return _value(os.getxattr(place.path, name, follow_symlinks=follow), call.args[2], call.args[3])
        if number := self._files.known_xattr_errno(place.path, name, follow=follow):
            return Fail(number)
        return Wait(partial(self._xattr, place.path, name, follow, call.args[2], call.args[3]))

    def fgetxattr(self, call: Call) -> Verdict:
        """Read an extended attribute of what is open (fgetxattr(2))."""
        path = self._places.opened(call, call.args[0])
        if path is None:
            return CONTINUE
        answer = partial(self._xattr, path, _xattr_name(call), False, call.args[2], call.args[3])
        return Wait(partial(while_it_has_a_path, answer))

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

    def flistxattr(self, call: Call) -> Verdict:
        """List extended attributes of what is open (flistxattr(2))."""
        path = self._places.opened(call, call.args[0])
        if path is None:
            return CONTINUE
        answer = partial(self._xattrs, path, False, call.args[1], call.args[2])
        return Wait(partial(while_it_has_a_path, answer))

    async def _xattrs(self, path: bytes, follow: bool, buffer: int, room: int) -> Verdict:
        return _value(await self._files.xattrs(path, follow=follow), buffer, room)


def _xattr_name(call: Call) -> bytes:
    name = call.string(call.args[1])
    if not 0 < len(name) <= _XATTR_NAME_MAX:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return name


def _value(value: bytes, buffer: int, room: int) -> Verdict:
    """Give a value as xattr calls do: without room only its size is asked for."""
    if not room:
        return Return(len(value))
    return Return(len(value), ((buffer, value),)) if len(value) <= room else Fail(errno.ERANGE)
