"""How much content of remote files there may be on this machine at once."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from typing import Final

SPACE_VARIABLE: Final = "MIRRORD_FS_SPACE"
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str) -> int | None:
    """Return a size such as ``500M`` in bytes, None for what is none."""
    number, unit = text.strip().upper().removesuffix("IB").removesuffix("B"), ""
    if number and number[-1] in _UNITS:
        number, unit = number[:-1], number[-1]
    return int(number) * _UNITS[unit] if number.isascii() and number.isdigit() else None


class Space:
    """Counts what placeholders hold, in the order in which they were filled."""

    def __init__(self, root: bytes, limit: int | None) -> None:
        """Without a limit, half of what the file system has free now."""
        if limit is None:
            free = os.statvfs(root)
            limit = free.f_bavail * free.f_frsize // 2
        self.limit: Final = limit
        self._sizes: Final[dict[bytes, int]] = {}
        self._used: int = 0

    def holds(self, placeholder: bytes, size: int) -> None:
        """Note what a placeholder holds now."""
        self.lets_go(placeholder)
        self._sizes[placeholder] = size
        self._used += size

    def lets_go(self, placeholder: bytes) -> None:
        """Note that a placeholder holds nothing any more."""
        self._used -= self._sizes.pop(placeholder, 0)

    def has_room(self, size: int) -> bool:
        """Tell whether so many bytes more fit without anything having to go."""
        return self._used + size <= self.limit

    def must_go(self, size: int) -> Iterator[bytes]:
        """Empty what nobody has open until there is room; give each that was. Raise OSError ENOSPC."""
        for placeholder in list(self._sizes):
            if self.has_room(size):
                return
            if _emptied(placeholder):
                self.lets_go(placeholder)
                yield placeholder
        if not self.has_room(size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _emptied(placeholder: bytes) -> bool:
    """Take the content of a file away unless somebody has it open or mapped.

    The kernel grants a write lease only to who has the file alone (F_SETLEASE, fcntl(2)).
    """
    mode = stat.S_IMODE(os.lstat(placeholder).st_mode)
    os.chmod(placeholder, mode | 0o600)
    fd = os.open(placeholder, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        os.ftruncate(fd, 0)
    except BlockingIOError:
        return False
    finally:
        os.fchmod(fd, mode)
        os.close(fd)
    return True
