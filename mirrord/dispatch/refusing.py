"""The files plane: changes of remote files and directories, which are refused as a read-only mount does.

Only what is remote for writing is refused: what is relative to a remote directory, what a rule says, and what
the program has open. All else that a program changes is local: what a mapping has moved is changed under the
name that it has by that. What needs a descriptor that may write, as ftruncate(2) and fallocate(2) do, is not
among these calls: nobody is given one.
"""

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from mirrord.dispatch.moved import Here
from mirrord.dispatch.places import Moved, Places, Remote, seen_from_here
from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD, Row, trap
from mirrord.dispatch.sockets import descriptor
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.syscall import CONTINUE, Call, Fail, Handler, Verdict, Wait

_Refusal = Callable[[bytes], Awaitable[Verdict]]
_AT_SYMLINK_FOLLOW: Final = 0x400
_UTIMBUF: Final = 16
"""``sizeof(struct utimbuf)`` of 64-bit architectures (utime(2))."""
_TIMES: Final = 32
"""Two ``struct timeval`` or ``struct timespec``."""


@dataclass(frozen=True, slots=True)
class _At:
    """Which arguments say what a call is about."""

    path: int
    directory: int | None = None
    flags: int | None = None
    """Where AT_EMPTY_PATH may be."""

    def of(self, call: Call) -> int:
        """Return the directory that the path is relative to."""
        return AT_FDCWD if self.directory is None else call.args[self.directory]


class Refusing:
    """Calls that would change what is remote."""

    def __init__(self, world: World, places: Places) -> None:
        self._places: Final = places
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return the calls that change a directory or the attributes of a file."""
        making, removing, changing = self.making, self.removing, self.changing
        renaming, times = self.renaming, self.changing_times
        return [
            *(_row(Here(name, mode=1), making, at=_At(0)) for name in ("mkdir", "mknod")),
            *(_row(Here(name, mode=2), making, at=_At(1, 0)) for name in ("mkdirat", "mknodat")),
            _row(Here("symlink", text=0), making, at=_At(1)),
            _row(Here("symlinkat", text=0), making, at=_At(2, 1)),
            _row(Here("link"), self.linking, old=_At(0), new=_At(1)),
            _row(Here("linkat"), self.linking, old=_At(1, 0, 4), new=_At(3, 2)),
            *(_row(Here(name), removing, at=_At(0)) for name in ("unlink", "rmdir")),
            _row(Here("unlinkat"), removing, at=_At(1, 0)),
            _row(Here("rename"), renaming, old=_At(0), new=_At(1)),
            *(_row(Here(name), renaming, old=_At(1, 0), new=_At(3, 2)) for name in ("renameat", "renameat2")),
            *(_row(Here(name), changing, at=_At(0)) for name in ("chmod", "chown", "lchown", "truncate")),
            _row(Here("utime", block=1, size=_UTIMBUF), changing, at=_At(0)),
            _row(Here("utimes", block=1, size=_TIMES), changing, at=_At(0)),
            *(
                _row(Here(name, text=1, block=2, size_at=3), changing, at=_At(0))
                for name in ("setxattr", "lsetxattr")
            ),
            *(_row(Here(name, text=1), changing, at=_At(0)) for name in ("removexattr", "lremovexattr")),
            _row(Here("fchmodat"), changing, at=_At(1, 0)),
            _row(Here("fchmodat2"), changing, at=_At(1, 0, 3)),
            _row(Here("fchownat"), changing, at=_At(1, 0, 4)),
            _row(Here("futimesat", block=2, size=_TIMES), times, at=_At(1, 0)),
            _row(Here("utimensat", block=2, size=_TIMES), times, at=_At(1, 0, 3)),
            *(trap(name, self.changing_opened) for name in ("fchmod", "fchown", "fsetxattr", "fremovexattr")),
        ]

    def making(self, call: Call, *, here: Here, at: _At) -> Verdict:
        """Refuse to make something in a remote directory: EEXIST, or EROFS."""
        return self._refuse(call, here, at, self._made)

    def removing(self, call: Call, *, here: Here, at: _At) -> Verdict:
        """Refuse to remove something of a remote directory: EROFS."""
        return self._refuse(call, here, at, self._removed)

    def changing(self, call: Call, *, here: Here, at: _At) -> Verdict:
        """Refuse to change the attributes or the size of a remote file: EROFS."""
        place = self._place(call, at)
        if isinstance(place, Remote) and (place.opened or place.link is not None):
            return Fail(errno.EROFS)
        return _refused_or_made(call, here, at, place, self._changed)

    def changing_times(self, call: Call, *, here: Here, at: _At) -> Verdict:
        """Refuse to change the times of a remote file: EROFS. Without a path it is what is open."""
        if not call.args[1] and descriptor(call.args[0]) != AT_FDCWD:
            return self.changing_opened(call)
        return self.changing(call, here=here, at=at)

    def changing_opened(self, call: Call) -> Verdict:
        """Refuse to change the attributes of a remote file that is open: EROFS."""
        return CONTINUE if self._places.opened(call, call.args[0]) is None else Fail(errno.EROFS)

    def linking(self, call: Call, *, here: Here, old: _At, new: _At) -> Verdict:
        """Refuse a hard link of a remote file, or in a remote directory: EEXIST, EROFS, or EXDEV."""
        source, target = self._place(call, old), self._place(call, new)
        follow = old.flags is not None and bool(call.args[old.flags] & _AT_SYMLINK_FOLLOW)
        if isinstance(source, Remote):
            return Wait(partial(self._linked, source, follow, target))
        if isinstance(target, Remote):
            return Wait(partial(self._made, target.path))
        return _made_here(call, here, (old, source), (new, target))

    def renaming(self, call: Call, *, here: Here, old: _At, new: _At) -> Verdict:
        """Refuse to rename something of a remote directory: EROFS, or EXDEV where one side is local."""
        source, target = self._place(call, old), self._place(call, new)
        remote = [place for place in (source, target) if isinstance(place, Remote)]
        if not remote:
            return _made_here(call, here, (old, source), (new, target))
        return Wait(partial(self._removed, remote[0].path, errno.EROFS if len(remote) > 1 else errno.EXDEV))

    def _place(self, call: Call, at: _At) -> Remote | Moved | None:
        empty = at.flags is not None and bool(call.args[at.flags] & AT_EMPTY_PATH)
        return self._places.place(call, at.of(call), call.args[at.path], write=True, empty=empty)

    def _refuse(self, call: Call, here: Here, at: _At, refusal: _Refusal) -> Verdict:
        return _refused_or_made(call, here, at, self._place(call, at), refusal)

    async def _made(self, path: bytes) -> Verdict:
        """``filename_create`` looks for the name before it minds the mount (fs/namei.c)."""
        try:
            await self._files.stat(path.rstrip(b"/") or b"/", follow=False)
        except FileNotFoundError:
            return await self._removed(path)
        return Fail(errno.EEXIST)

    async def _linked(self, source: Remote, follow: bool, target: Remote | Moved | None) -> Verdict:
        """``do_linkat`` looks for the file, then for the new name, and then at the mounts (fs/namei.c)."""
        if not source.opened:
            await self._files.stat(source.path, follow=follow)
        return await self._made(target.path) if isinstance(target, Remote) else Fail(errno.EXDEV)

    async def _removed(self, path: bytes, number: int = errno.EROFS) -> Verdict:
        """``do_unlinkat`` minds the mount before it looks for the name (fs/namei.c)."""
        await self._files.stat(os.path.dirname(path.rstrip(b"/")) or b"/", follow=True, directory=True)
        return Fail(number)

    async def _changed(self, path: bytes) -> Verdict:
        await self._files.stat(path, follow=True)
        return Fail(errno.EROFS)


def _row(here: Here, handler: Callable[..., Verdict], **ats: _At) -> Row:
    made: Handler = partial(handler, here=here, **ats)
    return trap(here.name, made)


def _refused_or_made(
    call: Call, here: Here, at: _At, place: Remote | Moved | None, refusal: _Refusal
) -> Verdict:
    if isinstance(place, Remote):
        return Wait(partial(refusal, place.path))
    return _made_here(call, here, (at, place))


def _made_here(call: Call, here: Here, *where: tuple[_At, Remote | Moved | None]) -> Verdict:
    """Make a call of local paths here if a mapping has moved any of them."""
    if not any(place for _, place in where):
        return CONTINUE
    paths, flags = {}, {}
    for at, place in where:
        path = b"" if place is not None else call.string(call.args[at.path])
        paths[at.path] = seen_from_here(call, at.of(call), path) if place is None else place.path
        if place is None and not path and at.flags is not None and call.args[at.flags] & AT_EMPTY_PATH:
            # what is open has no path but the link of /proc to it
            flags[at.flags] = _AT_SYMLINK_FOLLOW
    return here.make(call, paths, flags=flags)
