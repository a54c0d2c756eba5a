"""Calls that cannot be decided run locally, and the user is told once for each reason."""

from collections.abc import Callable
from typing import Final

from mirrord.syscall import CONTINUE, Call, Elsewhere, Fail, Gone, Skipped, Verdict
from mirrord.tracer.threads import command

Warn = Callable[[str], None]
"""Print a line for the user."""


class Excuses:
    """Remembers which reasons the user knows: a build in containers has thousands of such processes."""

    def __init__(self, warn: Warn) -> None:
        self._warn: Final = warn
        self._told: Final[set[str]] = set()

    def answer(self, call: Call, number: int, error: Exception) -> Verdict:
        """Return what a call gets whose decision has failed: a call always gets an answer."""
        if isinstance(error, OSError):
            return Fail(error.errno) if error.errno else CONTINUE
        if isinstance(error, Gone):
            return CONTINUE
        return self.excuse(call, number, error)

    def excuse(self, call: Call, number: int, error: Exception) -> Verdict:
        """Let a call run locally, and tell why."""
        if isinstance(error, Elsewhere):
            if not isinstance(error, Skipped):
                self.tell(call.tid, str(error))
        elif self._is_new(
            what := f"system call {number} was left to the kernel: {type(error).__name__}: {error}"
        ):
            self._warn(f"warning: {what}")
        return CONTINUE

    def tell(self, tid: int, reason: str) -> None:
        """Tell that a process runs locally, and why."""
        if self._is_new(reason):
            who = f"process {tid} ({_command(tid)})"
            self._warn(f"warning: {who} runs locally, as will others like it: {reason}")

    def _is_new(self, reason: str) -> bool:
        known = reason in self._told
        self._told.add(reason)
        return not known


def _command(tid: int) -> str:
    try:
        return command(tid)
    except Gone:
        return "ended"
