"""The files plane: the current directory, and what watches or names directories and files in other ways."""

import errno
import os
from functools import partial
from typing import Final

from mirrord.dispatch import moved
from mirrord.dispatch.places import Moved, Places
from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD, Row, trap
from mirrord.dispatch.sockets import descriptor
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.syscall import CONTINUE, Call, Enter, Fail, Return, Verdict, Wait

_IN_DONT_FOLLOW: Final = 0x2000000
_DELETED: Final = b" (deleted)"


class Directories:
    """``chdir``, ``getcwd``, ``inotify_add_watch`` and ``name_to_handle_at``.

    ``fchdir`` needs nothing: the program has the skeleton open, and enters it.
    """

    def __init__(self, world: World, places: Places) -> None:
        self._places: Final = places
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return these calls."""
        return [
            trap("chdir", self.chdir),
            trap("getcwd", self.getcwd),
            trap("inotify_add_watch", self.inotify_add_watch),
            trap("name_to_handle_at", self.name_to_handle_at),
        ]

    def chdir(self, call: Call) -> Verdict:
        """Enter a directory (chdir(2)): a remote one's skeleton is entered by injection."""
        place = self._places.place(call, AT_FDCWD, call.args[0])
        if place is None:
            return CONTINUE
        if isinstance(place, Moved):
            return Wait(partial(self._enter_moved, place.path))
        self._files.require(place.path, follow=True)
        return Wait(partial(self._enter, place.path))

    async def _enter(self, path: bytes) -> Verdict:
        return Enter(await self._files.enter(path))

    async def _enter_moved(self, path: bytes) -> Verdict:
        return Enter(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def getcwd(self, call: Call) -> Verdict:
        """Return the current directory (getcwd(2)), a remote one's own path."""
        path = self._places.current_directory(call)
        if path is None:
            return CONTINUE
        if path.endswith(_DELETED):
            return Fail(errno.ENOENT)
        if len(path) >= call.args[1]:
            return Fail(errno.ERANGE)
        return Return(len(path) + 1, ((call.args[0], path + b"\0"),))

    def inotify_add_watch(self, call: Call) -> Verdict:
        """Refuse to watch what is remote with ENOSYS: programs then look by themselves
        (inotify_add_watch(2)).
        """
        place = self._places.place(call, AT_FDCWD, call.args[1])
        if place is None:
            return CONTINUE
        if isinstance(place, Moved):
            return _watched(call, place.path)
        return Wait(partial(self._not_watched, place.path, not call.args[2] & _IN_DONT_FOLLOW))

    async def _not_watched(self, path: bytes, follow: bool) -> Verdict:
        await self._files.follow(path, follow=follow)
        self._files.warn("changes of remote files are not told by inotify: watching them fails with ENOSYS")
        return Fail(errno.ENOSYS)

    def name_to_handle_at(self, call: Call) -> Verdict:
        """Say that what is remote, or moved by a mapping, has no handles (name_to_handle_at(2))."""
        empty = bool(call.args[4] & AT_EMPTY_PATH)
        place = self._places.place(call, call.args[0], call.args[1], empty=empty)
        return CONTINUE if place is None else Fail(errno.EOPNOTSUPP)


def _watched(call: Call, path: bytes) -> Verdict:
    instance = call.duplicate(descriptor(call.args[0]))
    try:
        return Return(moved.inotify_add_watch(instance, path, call.args[2]))
    finally:
        os.close(instance)
