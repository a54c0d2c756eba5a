"""The session's tree: local files that stand for remote ones, at the same paths below its root."""

import os
import shutil
import stat
from typing import Final, NamedTuple

from mirrord_agent.wire.messages import Attributes, Version

_OWNER_MAY_READ: Final = 0o400
_OWNER_MAY_USE_DIRECTORY: Final = 0o700


_Key = tuple[int, int]
"""Device and inode number of a remote file."""


class Identity(NamedTuple):
    """What tells a file from every other on this machine."""

    dev: int
    ino: int


class Placeholders:
    """Makes placeholders; hard links and other names of one remote file share one."""

    def __init__(self, root: str) -> None:
        self.root: Final = os.fsencode(root)
        self._by_file: Final[dict[_Key, bytes]] = {}
        self._files: Final[dict[bytes, _Key]] = {}
        """Whose placeholder is at a local path."""
        self._content: Final[dict[bytes, tuple[bytes, Version]]] = {}
        """By remote path: the placeholder that was filled for it, and with what."""
        os.makedirs(self.root, mode=0o700, exist_ok=True)

    @property
    def in_use(self) -> bool:
        """Whether there is any placeholder; from any thread."""
        return bool(self._by_file)

    def identity(self, path: bytes, attributes: Attributes) -> Identity:
        """Return the identity that a remote file has here."""
        status = os.lstat(self.path(path, attributes))
        return Identity(status.st_dev, status.st_ino)

    def path(self, path: bytes, attributes: Attributes) -> bytes:
        """Return the placeholder of a remote file, made if it has none."""
        key = (attributes.dev, attributes.ino)
        known = self._by_file.get(key)
        if known is not None and _same_type(known, attributes.mode):
            return known
        placeholder = self._place(path, directory=stat.S_ISDIR(attributes.mode))
        _make(placeholder, attributes)
        self._by_file[key] = placeholder
        self._files[placeholder] = key
        return placeholder

    def version(self, path: bytes) -> Version | None:
        """Return which version of a remote file is here in full, under this name."""
        placeholder, version = self._content.get(path, (b"", None))
        if version is None or self._by_file.get((version.dev, version.ino)) != placeholder:
            return None
        return version

    def filled(self, path: bytes, attributes: Attributes) -> None:
        """Note that the placeholder of a file now has its content."""
        version = attributes.version()
        self._content[path] = (self._by_file[version.dev, version.ino], version)

    def empty(self, path: bytes, attributes: Attributes) -> bytes:
        """Return a placeholder that nobody has read yet, to be filled."""
        placeholder = self.path(path, attributes)
        if os.lstat(placeholder).st_blocks:
            # an earlier version was fetched, and may be open: that file stays as it is, under no name
            os.unlink(placeholder)
            _make(placeholder, attributes)
        os.chmod(placeholder, 0o600)
        return placeholder

    def dress(self, placeholder: bytes, attributes: Attributes) -> None:
        """Give a filled placeholder the mode and times of its remote file."""
        os.chmod(placeholder, stat.S_IMODE(attributes.mode) & 0o777 | _OWNER_MAY_READ)
        os.utime(placeholder, ns=(attributes.atime_ns, attributes.mtime_ns))

    def remote_path(self, local: bytes) -> bytes | None:
        """Return the remote path that a path inside the tree stands for, None for any other."""
        if local == self.root:
            return b"/"
        return local[len(self.root) :] if local.startswith(self.root + b"/") else None

    def _place(self, path: bytes, *, directory: bool) -> bytes:
        """Return a free name for a path, its parents made; what a changed remote tree has left in the way
        goes.
        """
        placeholder = self.root + os.path.normpath(b"/" + path.lstrip(b"/"))
        parent = os.path.dirname(placeholder)
        try:
            os.makedirs(parent, mode=0o700, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            self._clear_the_way(parent)
            os.makedirs(parent, mode=0o700, exist_ok=True)
        if not (directory and os.path.isdir(placeholder) and not os.path.islink(placeholder)):
            _remove(placeholder)
        self._forget(placeholder)
        return placeholder

    def _forget(self, placeholder: bytes) -> None:
        """Forget the file whose placeholder was there: it has another name by now, or is gone."""
        key = self._files.pop(placeholder, None)
        if key is not None and self._by_file.get(key) == placeholder:
            del self._by_file[key]

    def _clear_the_way(self, directory: bytes) -> None:
        while len(directory) > len(self.root):
            if os.path.lexists(directory) and not os.path.isdir(directory):
                os.unlink(directory)
                return
            directory = os.path.dirname(directory)


def _same_type(placeholder: bytes, mode: int) -> bool:
    try:
        return stat.S_IFMT(os.lstat(placeholder).st_mode) == stat.S_IFMT(_local_mode(mode))
    except FileNotFoundError:
        return False


def _local_mode(mode: int) -> int:
    """Return the mode of a placeholder: devices, sockets and pipes are stood for by sockets, which nobody can
    open.
    """
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
        return mode
    return stat.S_IFSOCK | 0o600


def _make(placeholder: bytes, attributes: Attributes) -> None:
    mode = _local_mode(attributes.mode)
    if stat.S_ISDIR(mode):
        os.makedirs(placeholder, mode=_OWNER_MAY_USE_DIRECTORY, exist_ok=True)
    elif stat.S_ISLNK(mode):
        os.symlink(b"remote", placeholder)
    elif stat.S_ISREG(mode):
        os.close(os.open(placeholder, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.truncate(placeholder, attributes.size)
        os.chmod(placeholder, stat.S_IMODE(mode) & 0o777)
    else:
        os.mknod(placeholder, mode)


def _remove(placeholder: bytes) -> None:
    try:
        os.unlink(placeholder)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        shutil.rmtree(placeholder)
