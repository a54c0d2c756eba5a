"""Finds what a test has left behind."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .running import MARK
from .user import User
from .waiting import until


@dataclass(frozen=True, slots=True)
class Ground:
    """What was there before a test: of the sandbox's processes, only their number stays the same."""

    user: User
    mark: str
    sandbox: str
    """The mark of the sandbox's own processes."""
    processes: int
    mounts: frozenset[str]

    @classmethod
    def before(cls, user: User, mark: str, sandbox: str) -> "Ground":
        """Look around before a test."""
        return cls(user, mark, sandbox, len(_marked(sandbox)), frozenset(_namespace_mounts()))

    def check_clean(self) -> None:
        """Fail, after a while, if anything of the test is still there."""
        until("nothing left behind", lambda: not any(self._left()), seconds=10, describe=self._describe)

    def _describe(self) -> str:
        return "\n".join(self._left())

    def _left(self) -> Iterator[str]:
        for pid in _marked(self.mark):
            yield f"process {pid}: {_command_line(pid)}"
        for path in self._sessions():
            yield f"session directory {path}"
        for name in _sockets(self.user):
            yield f"unix socket {name}"
        for mount in _namespace_mounts():
            if mount not in self.mounts:
                yield f"namespace mounted at {mount}"
        now = _marked(self.sandbox)
        if len(now) > self.processes:
            for pid in now:
                count = f"{len(now)} processes of the sandbox, not {self.processes}"
                yield f"{count}: {pid} {_command_line(pid)}"

    def _sessions(self) -> list[Path]:
        sessions = self.user.runtime / "mirrord" / "sessions"
        return list(sessions.iterdir()) if sessions.exists() else []


def _marked(mark: str) -> list[int]:
    """Return the processes that carry a mark; zombies have no environment, so they do not count."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            variables = Path("/proc", entry, "environ").read_bytes().split(b"\0")
        except OSError:
            # it has ended, or is another user's
            continue
        if wanted in variables:
            found.append(int(entry))
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(ended meanwhile)"


def _sockets(user: User) -> list[str]:
    """Return the listening sockets in the user's session directories."""
    sessions = str(user.runtime / "mirrord" / "sessions")
    lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    return [line.split()[-1] for line in lines if sessions in line]


def _namespace_mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - nsfs " in line:
            yield line.split()[4]
