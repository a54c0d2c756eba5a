"""What the two engines have in common, as a session uses them."""

import gc
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from mirrord_seccomp.rules import Action, Rule

from mirrord.syscall import Handler
from mirrord.tracer.parked import Parked
from mirrord.tracer.recorder import Recorder

SWITCH_INTERVAL: Final = 0.0005
"""Seconds for which a thread may keep the interpreter from another: who answers calls must not wait long for
a relay (default 0.005).
"""


def be_quick() -> None:
    """Have the interpreter answer calls quickly, from now on.

    What the start of a session has made stays as long as it: the collector goes through it no more, which was
    an eighth of the supervisor's time for a new connection.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()


class Decisions(Protocol):
    """The session's table of system calls."""

    @property
    def filter(self) -> bytes:
        """The compiled filter, which traps by the engine's own action."""

    @property
    def handlers(self) -> Mapping[int, Handler]:
        """Who decides each trapped call, by number."""

    @property
    def traps(self) -> Mapping[int, Sequence[Rule]]:
        """When each call is trapped, by number."""


@dataclass(frozen=True, slots=True)
class Program:
    """What is to be run, and the process that will become it."""

    parked: Parked
    argv: Sequence[bytes]
    environment: Mapping[bytes, bytes]


class Engine(Protocol):
    """Launches the program and answers its trapped calls."""

    trap: Action
    """What the filter does with a call that is to be decided."""

    @property
    def returning_from_signal(self) -> Handler | None:
        """The engine's own decision of ``rt_sigreturn``, None where it needs none."""

    @property
    def own_rows(self) -> Sequence[tuple[Rule, Handler]]:
        """Calls that the engine itself wants trapped."""

    @property
    def find_kept(self) -> Callable[[int], socket.socket | None] | None:
        """Find a socket of the program by its inode, where it cannot be got from the program again."""

    async def launch(self, program: Program, decisions: Decisions) -> None:
        """Start the program with its calls trapped, none of which is answered yet; raise LaunchError or
        KernelError.
        """

    def begin(self, changed: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Answer the program's calls from now on.

        On the event loop, ``changed`` is called whenever a process of the program may have stopped or ended,
        ``failed`` when a fault of the engine has ended the program.
        """

    def record(self, recorder: Recorder | None) -> None:
        """Have every call remembered from now on, or no more."""

    def status(self, pid: int) -> int | None:
        """Return the wait status of a process that has stopped or ended since it was last asked for."""

    def forget_thread(self, tid: int) -> None:
        """Look at a thread afresh; on the thread that decides."""

    def forget_threads(self) -> None:
        """Look at every thread afresh; on the thread that decides."""
