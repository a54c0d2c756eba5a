"""Where a sandbox that is up is found: a socket in a directory that only its user may enter."""

import contextlib
import fcntl
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mirrord.errors import TargetError, UsageError

DEFAULT_NAME: Final = "default"
_QUEUE: Final = 128
_NAME_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_name(name: str) -> None:
    """Raise UsageError unless ``name`` may be a sandbox's."""
    if not _NAME_FORM.fullmatch(name):
        remedy = "use at most 63 letters, digits, `-`, `_` and `.`, the first a letter or a digit"
        raise UsageError(f"`{name}` is not a name for a sandbox", remedy=remedy)


def directory() -> Path:
    """Return ``$XDG_RUNTIME_DIR/mirrord/sandbox``, or ``/tmp/mirrord-UID/sandbox`` where that variable gives no directory of ours."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # `sudo` and `su` may leave another user's directory in it.
    if runtime.startswith("/") and _is_ours(Path(runtime)):
        return Path(runtime, "mirrord", "sandbox")
    return Path(f"/tmp/mirrord-{os.geteuid()}", "sandbox")


def _is_ours(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


@dataclass(frozen=True, slots=True)
class Place:
    """The listening socket of a sandbox that is up, and where it is found."""

    listener: socket.socket
    path: Path
    inode: int

    def remove(self) -> None:
        """Remove the socket, unless it is another sandbox's by now, and the directories that it leaves empty."""
        with contextlib.suppress(OSError):
            if self.path.lstat().st_ino == self.inode:
                self.path.unlink()
            self.path.parent.rmdir()
            self.path.parent.parent.rmdir()


def connect(name: str) -> socket.socket | None:
    """Connect to the sandbox ``name``; return None if none is up; raise TargetError."""
    path = directory()
    if not os.path.lexists(path):
        return None
    fd = _open_private(path)
    try:
        return _connect(fd, name)
    finally:
        os.close(fd)


def listen(name: str) -> Place:
    """Open the listener of the sandbox ``name``, in place of the socket of one that was killed; raise TargetError if one is up."""
    path = directory()
    for level in (path.parent, path):
        level.mkdir(mode=0o700, parents=False, exist_ok=True)
    fd = _open_private(path)
    try:
        # Two that start together must not take each other's socket for a dead one's.
        fcntl.flock(fd, fcntl.LOCK_EX)
        return _listen(fd, path, name)
    finally:
        # Closes the lock too: nothing was forked since.
        os.close(fd)


def _listen(fd: int, path: Path, name: str) -> Place:
    running = _connect(fd, name)
    if running is not None:
        running.close()
        raise TargetError(f"a sandbox called `{name}` is up already", remedy="give this one another --name")
    target = path / f"{name}.sock"
    target.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(_short(fd, name))
    target.chmod(0o600)
    listener.listen(_QUEUE)
    return Place(listener, target, target.lstat().st_ino)


def _connect(fd: int, name: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(_short(fd, name))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def _open_private(path: Path) -> int:
    """Return a descriptor of the directory; raise TargetError if somebody else may write in it."""
    for level in (path.parent, path):
        status = level.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            problem = f"{level} is not a directory of yours that others may not enter"
            raise TargetError(problem, remedy="remove it, or set XDG_RUNTIME_DIR")
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _short(fd: int, name: str) -> str:
    """Return a path for bind(2) and connect(2) that fits into their 107 bytes, however long the directory's is."""
    return f"/proc/self/fd/{fd}/{name}.sock"
