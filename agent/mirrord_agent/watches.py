"""Watching directories, so that the requester may keep what it was told until it is told otherwise.

Facts about inotify(7) that this relies on: a watch belongs to an inode, so adding one twice gives the same
number, and numbers are not used again soon. Events name the entry through which a file was reached: a change
through another hard link, or of a file that is mounted over its name, is not told (such entries are not
*steady*). A write through a mapping is told when the file is closed. What another machine does to a network
file system is never told: only file systems of this machine are watched.
"""

import asyncio
import errno
import os
import struct
from collections.abc import Callable, Iterable
from typing import Final

from mirrord_agent import linux
from mirrord_agent.wire.messages import Changed

_MODIFY: Final = 0x2
_ATTRIB: Final = 0x4
_CLOSE_WRITE: Final = 0x8
_MOVED_FROM: Final = 0x40
_MOVED_TO: Final = 0x80
_CREATE: Final = 0x100
_DELETE: Final = 0x200
_DELETE_SELF: Final = 0x400
_MOVE_SELF: Final = 0x800
_UNMOUNT: Final = 0x2000
_OVERFLOW: Final = 0x4000
_IGNORED: Final = 0x8000
_ONLYDIR: Final = 0x1000000
_MASK_ADD: Final = 0x20000000

_NAMES: Final = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO
_SELF: Final = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
OUTLINE: Final = _NAMES | _ATTRIB | _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _MASK_ADD
"""Changes of a directory's names and of itself."""
FULL: Final = OUTLINE | _MODIFY | _CLOSE_WRITE
"""And those of the files in it."""

_EVENT: Final = struct.Struct("=iIII")
_READ: Final = 64 * 1024
_LOCAL_KINDS: Final = frozenset(
    {
        *(0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x858458F6),
        *(0x794C7630, 0xF2F52010, 0x2FC12FC1, 0xCA451A4E, 0x52654973, 0x73717368, 0xE0F5E1E2),
    }
)
"""``f_type`` of ext4, xfs, btrfs, tmpfs, ramfs, overlay, f2fs, zfs, bcachefs, reiserfs, squashfs and erofs
(include/uapi/linux/magic.h).
"""


def is_of_this_machine(fd: int) -> bool:
    """Tell whether a file is on a file system that only this machine's kernel changes, by calls."""
    return linux.fstatfs(fd)[0] in _LOCAL_KINDS


class Watches:
    """One inotify instance; :meth:`add` is for any thread, the rest for the loop's."""

    def __init__(self) -> None:
        self.exhausted: bool = False
        """The last watch could not be had since there are too many (``fs.inotify.max_user_watches``)."""
        self._instance: int | None = None
        self._told: Final[dict[int, set[bytes | None]]] = {}
        """What has been told of each directory since it was last asked about."""

    def start(self, tell: Callable[[Changed], None]) -> None:
        """Begin; ``tell`` is called for each change, once for each name."""
        try:
            self._instance = linux.inotify_init()
        except OSError:
            # too many instances (EMFILE): then nothing is watched, and everything asked for each time
            self.exhausted = True
            return
        asyncio.get_running_loop().add_reader(self._instance, self._read, tell)

    def close(self) -> None:
        """End."""
        if self._instance is not None:
            asyncio.get_running_loop().remove_reader(self._instance)
            os.close(self._instance)
            self._instance = None

    def add(self, directory: int, mask: int) -> int | None:
        """Watch an open directory; return its number, None where that is not possible or not reliable.

        What happens from here on is told.
        """
        if self._instance is None or not is_of_this_machine(directory):
            return None
        try:
            number = linux.inotify_add_watch(self._instance, b"/proc/self/fd/%d" % directory, mask)
        except OSError as error:
            self.exhausted = error.errno in (errno.ENOSPC, errno.ENOMEM)
            return None
        self._told.pop(number, None)
        return number

    def drop(self, numbers: Iterable[int]) -> None:
        """Watch some no more; one that the kernel has dropped already is no error."""
        for number in numbers:
            self._told.pop(number, None)
            if self._instance is not None:
                try:
                    linux.inotify_rm_watch(self._instance, number)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise

    def _read(self, tell: Callable[[Changed], None]) -> None:
        assert self._instance is not None
        try:
            data = os.read(self._instance, _READ)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            name = data[at - length : at].rstrip(b"\0") if length else None
            self._take(number, mask, name, tell)

    def _take(self, number: int, mask: int, name: bytes | None, tell: Callable[[Changed], None]) -> None:
        if mask & _OVERFLOW:
            self._told.clear()
            tell(Changed(watch=-1))
            return
        if name is None and not mask & (_SELF | _ATTRIB):
            return
        told = self._told.setdefault(number, set())
        names = bool(mask & _NAMES)
        # an entry whose content has changed may be renamed later, which is news of the directory
        if name in told and (not names or None in told or b"/" in told):
            return
        told.add(name)
        if names:
            told.add(b"/")
        tell(Changed(watch=number, name=name, names=names))
        if mask & _IGNORED:
            self._told.pop(number, None)
