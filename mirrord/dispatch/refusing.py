"""The files plane: changes of remote files and directories, which are refused as a read-only mount does.

Only what is remote for writing comes here: what is relative to a remote directory, what a rule says, and what
the program has open. All else that a program changes is local. What needs a descriptor that may write, as
ftruncate(2) and fallocate(2) do, is not among these calls: nobody is given one.
"""

import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from mirrord.dispatch.places import Moved, Places, Remote
from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD, Row, trap
from mirrord.dispatch.sockets import descriptor
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.syscall import CONTINUE, Call, Fail, Verdict, Wait

_Refusal = Callable[[bytes], Awaitable[Verdict]]
_AT_SYMLINK_FOLLOW: Final = 0x400


@dataclass(frozen=True, slots=True)
class _At:
    """Which arguments say what a call is about."""

    path: int
    directory: int | None = None
    flags: int | None = None
    """Where AT_EMPTY_PATH may be."""


class Refusing:
    """Calls that would change what is remote."""

    def __init__(self, world: World, places: Places) -> None:
        self._places: Final = places
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return the calls that change a directory or the attributes of a file."""
        making, removing, changing = self.making, self.removing, self.changing
        return [
            *(trap(name, partial(making, at=_At(0))) for name in ("mkdir", "mknod")),
            *(trap(name, partial(making, at=_At(1, 0))) for name in ("mkdirat", "mknodat")),
            trap("symlink", partial(making, at=_At(1))),
            trap("symlinkat", partial(making, at=_At(2, 1))),
            trap("link", partial(self.linking, old=_At(0), new=_At(1))),
            trap("linkat", partial(self.linking, old=_At(1, 0, 4), new=_At(3, 2))),
            *(trap(name, partial(removing, at=_At(0))) for name in ("unlink", "rmdir")),
            trap("unlinkat", partial(removing, at=_At(1, 0))),
            trap("rename", partial(self.renaming, old=_At(0), new=_At(1))),
            *(
                trap(name, partial(self.renaming, old=_At(1, 0), new=_At(3, 2)))
                for name in ("renameat", "renameat2")
            ),
            *(
                trap(name, partial(changing, at=_At(0)))
                for name in ("chmod", "chown", "lchown", "truncate", "utime", "utimes")
            ),
            *(
                trap(name, partial(changing, at=_At(0)))
                for name in ("setxattr", "lsetxattr", "removexattr", "lremovexattr")
            ),
            trap("fchmodat", partial(changing, at=_At(1, 0))),
            trap("fchmodat2", partial(changing, at=_At(1, 0, 3))),
            trap("fchownat", partial(changing, at=_At(1, 0, 4))),
            trap("futimesat", partial(self.changing_times, at=_At(1, 0))),
            trap("utimensat", partial(self.changing_times, at=_At(1, 0, 3))),
            *(trap(name, self.changing_opened) for name in ("fchmod", "fchown", "fsetxattr", "fremovexattr")),
        ]

    def making(self, call: Call, *, at: _At) -> Verdict:
        """Refuse to make something in a remote directory: EEXIST, or EROFS."""
        return self._refuse(call, at, self._made)

    def removing(self, call: Call, *, at: _At) -> Verdict:
        """Refuse to remove something of a remote directory: EROFS."""
        return self._refuse(call, at, self._removed)

    def changing(self, call: Call, *, at: _At) -> Verdict:
        """Refuse to change the attributes or the size of a remote file: EROFS."""
        place = self._place(call, at)
        if not isinstance(place, Remote):
            return CONTINUE
        if place.opened or place.link is not None:
            return Fail(errno.EROFS)
        return Wait(partial(self._changed, place.path))

    def changing_times(self, call: Call, *, at: _At) -> Verdict:
        """Refuse to change the times of a remote file: EROFS. Without a path it is what is open."""
        if not call.args[1] and descriptor(call.args[0]) != AT_FDCWD:
            return self.changing_opened(call)
        return self.changing(call, at=at)

    def changing_opened(self, call: Call) -> Verdict:
        """Refuse to change the attributes of a remote file that is open: EROFS."""
        return CONTINUE if self._places.opened(call, call.args[0]) is None else Fail(errno.EROFS)

    def linking(self, call: Call, *, old: _At, new: _At) -> Verdict:
        """Refuse a hard link of a remote file, or in a remote directory: EEXIST, EROFS, or EXDEV."""
        source, target = self._place(call, old), self._place(call, new)
        follow = old.flags is not None and bool(call.args[old.flags] & _AT_SYMLINK_FOLLOW)
        if isinstance(source, Remote):
            return Wait(partial(self._linked, source, follow, target))
        return Wait(partial(self._made, target.path)) if isinstance(target, Remote) else CONTINUE

    def renaming(self, call: Call, *, old: _At, new: _At) -> Verdict:
        """Refuse to rename something of a remote directory: EROFS, or EXDEV where one side is local."""
        remote = [place for at in (old, new) if isinstance(place := self._place(call, at), Remote)]
        if not remote:
            return CONTINUE
        return Wait(partial(self._removed, remote[0].path, errno.EROFS if len(remote) > 1 else errno.EXDEV))

    def _place(self, call: Call, at: _At) -> Remote | Moved | None:
        directory = AT_FDCWD if at.directory is None else call.args[at.directory]
        empty = at.flags is not None and bool(call.args[at.flags] & AT_EMPTY_PATH)
        return self._places.place(call, directory, call.args[at.path], write=True, empty=empty)

    def _refuse(self, call: Call, at: _At, refusal: _Refusal) -> Verdict:
        place = self._place(call, at)
        return Wait(partial(refusal, place.path)) if isinstance(place, Remote) else CONTINUE

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
