"""Finds what a test has left behind."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .processes import command_line, marked
from .user import User
from .waiting import until


@dataclass(frozen=True, slots=True)
class Ground:
    """What was there before a test: of the sandbox's processes, only their number stays the same."""

    user: User
    mark: int
    sandbox: int
    """The mark of the sandbox's own processes."""
    processes: int
    """How many of those there are when nobody uses it."""
    mounts: frozenset[str]
    sessions: frozenset[Path]

    @classmethod
    def before(cls, user: User, *, mark: int, sandbox: int, processes: int) -> "Ground":
        """Look around before a test."""
        return cls(user, mark, sandbox, processes, frozenset(_namespace_mounts()), _sessions(user))

    def check_clean(self) -> None:
        """Fail, after a while, if anything of the test is still there."""
        try:
            until("nothing left behind", lambda: not any(self._left()), seconds=10, describe=self._describe)
        finally:
            for pid in marked(self.mark):
                os.kill(pid, signal.SIGKILL)

    def _describe(self) -> str:
        return "\n".join(self._left())

    def _left(self) -> Iterator[str]:
        for pid in marked(self.mark):
            yield f"process {pid}: {command_line(pid)}"
        for path in _sessions(self.user) - self.sessions:
            yield f"session directory {path}"
        for name in _sockets(self.user):
            yield f"unix socket {name}"
        for mount in _namespace_mounts():
            if mount not in self.mounts:
                yield f"namespace mounted at {mount}"
        now = marked(self.sandbox)
        if len(now) > self.processes:
            for pid in now:
                count = f"{len(now)} processes of the sandbox, not {self.processes}"
                yield f"{count}: {pid} {command_line(pid)}"


def _sessions(user: User) -> frozenset[Path]:
    sessions = user.runtime / "mirrord" / "sessions"
    return frozenset(sessions.iterdir() if sessions.exists() else ())


def _sockets(user: User) -> list[str]:
    """Return the listening sockets in the user's session directories."""
    sessions = str(user.runtime / "mirrord" / "sessions")
    lines = Path("/proc/net/unix").read_text(errors="replace").splitlines()
    return [line.split()[-1] for line in lines if sessions in line]


def _namespace_mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - nsfs " in line:
            yield line.split()[4]
