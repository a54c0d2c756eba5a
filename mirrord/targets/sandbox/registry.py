"""Where the sandboxes that are up are found: one unix socket for each name, in a directory of the user's."""

import contextlib
import fcntl
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mirrord.errors import TargetError, UsageError

DEFAULT: Final = "default"
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def checked(name: str) -> str:
    """Return a sandbox's name; raises UsageError if it cannot be one."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"`{name}` is not a name for a sandbox",
            remedy="use up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends",
        )
    return name


def _base() -> str:
    """Return XDG_RUNTIME_DIR where there is one, else our own directory under /tmp, perhaps not made yet.

    After su(1) it is another user's, who could exchange what is in it.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.getuid():
        return f"{runtime}/mirrord"
    return f"/tmp/mirrord-{os.getuid()}"


@contextmanager
def _directory(*, make: bool) -> Iterator[tuple[str, int]]:
    """Give the directory of the sockets, by name and descriptor; nobody else may write there.

    Raises FileNotFoundError if it is not there and shall not be made, and TargetError if it is not our own.
    """
    base = _base()
    path = f"{base}/sandbox"
    if make:
        for part in (base, path):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700)
    for part in (base, path):
        _check_own(part)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield path, fd
    finally:
        os.close(fd)


def _check_own(path: str) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise TargetError(
            f"{path} is not a directory that only this user can write to",
            remedy="remove it, or set XDG_RUNTIME_DIR",
        )


def _connect(directory: int, name: str) -> socket.socket | None:
    control = socket.socket(socket.AF_UNIX)
    try:
        # Through the descriptor: the path itself may be longer than the 107 bytes of unix(7).
        control.connect(f"/proc/self/fd/{directory}/{name}.sock")
    except (FileNotFoundError, ConnectionRefusedError):
        control.close()
        return None
    return control


def connect(name: str) -> socket.socket | None:
    """Return a connection to the sandbox that is up under ``name``, or None; raises TargetError."""
    try:
        with _directory(make=False) as (_, directory):
            return _connect(directory, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TargetError(f"the sandbox {name} cannot be reached: {error}") from error


def listen(name: str) -> tuple[socket.socket, str]:
    """Return a socket at which the sandbox ``name`` will be found, and its path; raises TargetError if one is
    up.
    """
    try:
        with _directory(make=True) as (path, directory):
            # Two that start at once must not both find the name free.
            fcntl.flock(directory, fcntl.LOCK_EX)
            if (other := _connect(directory, name)) is not None:
                other.close()
                raise TargetError(f"a sandbox named {name} is up already", remedy="use another --name")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{name}.sock", dir_fd=directory)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"/proc/self/fd/{directory}/{name}.sock")
            listener.listen(128)
            return listener, f"{path}/{name}.sock"
    except OSError as error:
        raise TargetError(f"the sandbox {name} cannot be made reachable: {error}") from error


def forget(name: str) -> None:
    """Remove the socket that a sandbox left behind, unless another has taken the name; raises OSError."""
    with _directory(make=False) as (_, directory):
        fcntl.flock(directory, fcntl.LOCK_EX)
        if (other := _connect(directory, name)) is not None:
            other.close()
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{name}.sock", dir_fd=directory)
