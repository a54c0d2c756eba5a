"""What one attempt found, and how attempts are made without a trace in this process."""

import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mirrord.errors import MirrordError

_PATIENCE: Final = 10.0
"""Seconds for one attempt."""
_ROOM: Final = 1 << 16


class Outcome(Enum):
    """How an attempt ended."""

    WORKS = "works"
    LACKS = "lacks"
    """It does not work, and sessions do without it."""
    FAILS = "fails"
    """It does not work, and sessions need it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; texts are lower case and without a final stop."""

    subject: str
    outcome: Outcome
    found: str
    cost: str = ""
    """What it means that this does not work."""
    remedy: str = ""


class Lacking(Exception):
    """Raised by an attempt whose subject does not work; the message is what was found."""

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(found)
        self.found: Final = found
        self.remedy: Final = remedy


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something to try. ``run`` returns what was found, or raises Lacking, OSError or MirrordError."""

    subject: str
    run: Callable[[], str]
    cost: str
    needed: bool = True
    remedy: str = ""
    """What helps where the attempt itself does not know better."""

    def make(self) -> Finding:
        """Try it in a child process, which may be left with filters and namespaces."""
        works, found, remedy = _in_child(self.run)
        if works:
            return Finding(self.subject, Outcome.WORKS, found)
        outcome = Outcome.FAILS if self.needed else Outcome.LACKS
        return Finding(self.subject, outcome, found, self.cost, remedy or self.remedy)


def _in_child(run: Callable[[], str]) -> tuple[bool, str, str]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, "\0".join(_result(run)).encode("utf-8", "surrogateescape"))
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb", buffering=0) as pipe:
        ready, _, _ = select.select([pipe], [], [], _PATIENCE)
        text = pipe.read(_ROOM).decode("utf-8", "surrogateescape") if ready else ""
    if not ready:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not ready:
        return False, f"no answer within {_PATIENCE:.0f} s", ""
    if not text:
        return False, f"the attempt was ended by signal {os.WTERMSIG(status)}", ""
    works, found, remedy = text.split("\0")
    return works == "1", found, remedy


def _result(run: Callable[[], str]) -> tuple[str, str, str]:
    try:
        return "1", run(), ""
    except Lacking as lacking:
        return "0", lacking.found, lacking.remedy
    except MirrordError as error:
        return "0", error.problem, error.remedy
    except OSError as error:
        return "0", (error.strerror or str(error)).lower(), ""
