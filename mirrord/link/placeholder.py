"""One local file that stands for a remote one: of the same type, with its owner, mode, size and times."""

import errno
import os
import stat
from typing import Final

from mirrord_agent.wire.messages import Attributes

_OWNER_MAY_READ: Final = 0o400
_OWNER_MAY_USE_DIRECTORY: Final = 0o700
_PERMISSIONS: Final = 0o777


def same_type(placeholder: bytes, mode: int) -> bool:
    """Tell whether what is there can stand for a remote file of this mode."""
    try:
        return stat.S_IFMT(os.lstat(placeholder).st_mode) == stat.S_IFMT(_local_mode(mode))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _local_mode(mode: int) -> int:
    """Return the mode of a placeholder: devices, sockets and pipes are stood for by sockets, which nobody can
    open.
    """
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
        return mode
    return stat.S_IFSOCK | 0o600


def make(placeholder: bytes, attributes: Attributes) -> None:
    """Make a placeholder, whose name must be free but for a directory."""
    mode = _local_mode(attributes.mode)
    if stat.S_ISDIR(mode):
        os.makedirs(placeholder, mode=_OWNER_MAY_USE_DIRECTORY, exist_ok=True)
    elif stat.S_ISLNK(mode):
        # as long as the remote one, and it leads nowhere
        os.symlink(b"\x01" * min(max(attributes.size, 1), 4095), placeholder)
    elif stat.S_ISREG(mode):
        os.mknod(placeholder, stat.S_IFREG | 0o600)
    else:
        os.mknod(placeholder, mode)


def dress(placeholder: bytes, attributes: Attributes, *, complete: bool, root: bool) -> None:
    """Give a placeholder the owner, mode, size and times of its remote file.

    ``complete`` says that it holds all of the file; ``root`` that we are root, who can give files away and
    needs no right of its own to use what it keeps here.
    """
    if root:
        _chown(placeholder, attributes)
    times = (attributes.atime_ns, attributes.mtime_ns)
    if not stat.S_ISREG(attributes.mode) and not stat.S_ISDIR(attributes.mode):
        os.utime(placeholder, ns=times, follow_symlinks=False)
        return
    keep = 0
    if not root:
        keep = _OWNER_MAY_READ if stat.S_ISREG(attributes.mode) else _OWNER_MAY_USE_DIRECTORY
    if stat.S_ISREG(attributes.mode) and not complete:
        # the remote file's mode may forbid even the owner to write
        os.chmod(placeholder, 0o600)
        _stretch(placeholder, attributes.size)
    os.chmod(placeholder, stat.S_IMODE(attributes.mode) & _PERMISSIONS | keep)
    os.utime(placeholder, ns=times)


def _stretch(placeholder: bytes, size: int) -> None:
    """Make a file without content as long as its remote one, where this file system has files so long: a
    program that only looks asks for nothing more.
    """
    try:
        os.truncate(placeholder, size)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise


def _chown(placeholder: bytes, attributes: Attributes) -> None:
    try:
        os.chown(placeholder, attributes.uid, attributes.gid, follow_symlinks=False)
    except OSError as error:
        # an id that our user namespace does not have: the file stays ours
        if error.errno not in (errno.EINVAL, errno.EPERM, errno.EOVERFLOW):
            raise
