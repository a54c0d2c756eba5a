"""The files plane: changes of remote files and directories, which are refused as a read-only mount does.

Only what is remote for writing comes here: what is relative to a remote directory, and what a rule says. All
else that a program changes is local.
"""

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from mirrord.dispatch.places import AT_FDCWD, Places, Remote
from mirrord.dispatch.row import Row, given, trap
from mirrord.dispatch.world import World
from mirrord.link.files import RemoteFiles
from mirrord.syscall import CONTINUE, Call, Fail, Verdict, Wait

_Refusal = Callable[[bytes], Awaitable[Verdict]]
_HERE: Final = -1
"""Stands for the argument that gives the directory, where a call has none."""


class Refusing:
    """Calls that would change what is remote."""

    def __init__(self, world: World, places: Places) -> None:
        self._places: Final = places
        self._files: Final[RemoteFiles] = world.files

    def rows(self) -> list[Row]:
        """Return the calls that change a directory or the attributes of a file."""
        making, removing, changing = self.making, self.removing, self.changing
        return [
            *(trap(name, partial(making, at=((_HERE, 0),))) for name in ("mkdir", "mknod")),
            *(trap(name, partial(making, at=((0, 1),))) for name in ("mkdirat", "mknodat")),
            trap("symlink", partial(making, at=((_HERE, 1),))),
            trap("symlinkat", partial(making, at=((1, 2),))),
            trap("link", partial(making, at=((_HERE, 1), (_HERE, 0)))),
            trap("linkat", partial(making, at=((2, 3), (0, 1)))),
            *(trap(name, partial(removing, at=((_HERE, 0),))) for name in ("unlink", "rmdir")),
            trap("unlinkat", partial(removing, at=((0, 1),))),
            trap("rename", partial(removing, at=((_HERE, 0), (_HERE, 1)))),
            *(trap(name, partial(removing, at=((0, 1), (2, 3)))) for name in ("renameat", "renameat2")),
            *(
                trap(name, partial(changing, at=(_HERE, 0)))
                for name in ("chmod", "chown", "lchown", "truncate", "utime", "utimes")
            ),
            *(
                trap(name, partial(changing, at=(_HERE, 0)))
                for name in ("setxattr", "lsetxattr", "removexattr", "lremovexattr")
            ),
            *(trap(name, partial(changing, at=(0, 1))) for name in ("fchmodat", "fchmodat2", "fchownat")),
            *(trap(name, partial(changing, at=(0, 1)), given(1)) for name in ("utimensat", "futimesat")),
        ]

    def making(self, call: Call, *, at: tuple[tuple[int, int], ...]) -> Verdict:
        """Refuse to make something in a remote directory: EEXIST, or EROFS."""
        return self._refuse(call, at, self._made)

    def removing(self, call: Call, *, at: tuple[tuple[int, int], ...]) -> Verdict:
        """Refuse to remove or rename something of a remote directory: EROFS."""
        return self._refuse(call, at, self._removed)

    def changing(self, call: Call, *, at: tuple[int, int]) -> Verdict:
        """Refuse to change the attributes or the size of a remote file: EROFS."""
        return self._refuse(call, (at,), self._changed)

    def _refuse(self, call: Call, at: tuple[tuple[int, int], ...], refusal: _Refusal) -> Verdict:
        for directory, path in at:
            where = AT_FDCWD if directory == _HERE else call.args[directory]
            place = self._places.place(call, where, call.args[path], write=True)
            if isinstance(place, Remote):
                return Wait(partial(refusal, place.path))
        return CONTINUE

    async def _made(self, path: bytes) -> Verdict:
        """``filename_create`` looks for the name before it minds the mount (fs/namei.c)."""
        try:
            await self._files.stat(path.rstrip(b"/") or b"/", follow=False)
        except FileNotFoundError:
            return await self._removed(path)
        return Fail(errno.EEXIST)

    async def _removed(self, path: bytes) -> Verdict:
        """``do_unlinkat`` minds the mount before it looks for the name (fs/namei.c)."""
        await self._files.stat(os.path.dirname(path.rstrip(b"/")) or b"/", follow=True, directory=True)
        return Fail(errno.EROFS)

    async def _changed(self, path: bytes) -> Verdict:
        await self._files.stat(path, follow=True)
        return Fail(errno.EROFS)
