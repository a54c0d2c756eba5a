"""The directory of one session: its sockets and the tree of placeholders for remote files."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mirrord.errors import MirrordError

SESSION_VARIABLE = "MIRRORD_SESSION_ID"
FEED = "feed.sock"
"""The socket in it, where the session tells what happens."""
_MADE = "made"
"""A file in it, of what the session has made that does not go with it."""
DIRECTORY_VARIABLE = "MIRRORD_FS_DIRECTORY"
"""Where the user wants remote files to be kept: a disk, where memory is scarce."""


@dataclass(frozen=True, slots=True)
class SessionDirectory:
    """A private directory that goes with its session."""

    id: str
    path: str

    @classmethod
    def create(cls) -> "SessionDirectory":
        """Make the directory of a new session."""
        id = secrets.token_hex(4)
        parent = os.path.join(private(base()), "sessions")
        os.makedirs(parent, mode=0o700, exist_ok=True)
        path = os.path.join(parent, id)
        os.mkdir(path, 0o700)
        return cls(id, path)

    def note(self, what: str) -> None:
        """Keep what is made and has to be deleted, for whoever of the chain is left; one line."""
        with open(os.path.join(self.path, _MADE), "a") as file:
            file.write(f"{what}\n")

    def made(self) -> list[str]:
        """Return what was noted."""
        try:
            with open(os.path.join(self.path, _MADE)) as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def remove(self) -> None:
        """Remove it, and the parents that it leaves empty; whichever process of the chain comes first does
        it.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        parent = os.path.dirname(self.path)
        for directory in (parent, os.path.dirname(parent)):
            try:
                os.rmdir(directory)
            except OSError:
                # another session's is still there
                return


def sessions() -> list[SessionDirectory]:
    """Return the directories of this user's sessions."""
    parent = os.path.join(base(), "sessions")
    try:
        names = sorted(os.listdir(parent))
    except FileNotFoundError:
        return []
    return [SessionDirectory(name, os.path.join(parent, name)) for name in names]


def base() -> str:
    """Return where to put it: where the user says, else in memory where the system has a place for that."""
    wanted = os.environ.get(DIRECTORY_VARIABLE)
    if wanted:
        if not os.access(wanted, os.W_OK | os.X_OK):
            raise MirrordError(
                f"{DIRECTORY_VARIABLE} is {wanted}, which is no directory that you can write to",
                remedy="make it, or unset the variable",
            )
        return os.path.join(os.path.realpath(wanted), f"mirrord-{os.getuid()}")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and _is_ours(runtime):
        return os.path.join(runtime, "mirrord")
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else "/tmp"
    return os.path.join(shared, f"mirrord-{os.getuid()}")


def private(path: str) -> str:
    """Make a directory that only we can enter; refuse one that another user has put there."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise MirrordError(
            f"{path} is not a directory of yours that only you can enter",
            remedy="remove it, or set XDG_RUNTIME_DIR to a directory of yours",
        )
    return path


def _is_ours(runtime: str) -> bool:
    """Tell whether a directory is ours alone, as the XDG specification has it: after su(1) it is that of who
    was there before, who could put another in the place of what we make in it.
    """
    try:
        status = os.stat(runtime)
    except OSError:
        return False
    return status.st_uid == os.getuid() and os.access(runtime, os.W_OK | os.X_OK)


@contextmanager
def within_reach(path: str) -> Iterator[str]:
    """Give a name of a path that a unix socket's address has room for: 107 bytes (unix(7))."""
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)
