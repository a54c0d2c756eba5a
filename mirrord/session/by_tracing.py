"""Attaching by the engine ptrace: the session itself traces the process, and nothing of it stays after."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from mirrord.config.options import AttachOptions
from mirrord.dispatch.complete import CompleteTable
from mirrord.errors import AttachError
from mirrord.session import doors
from mirrord.session.directory import SESSION_VARIABLE, sessions
from mirrord.session.own_door import OwnDoor
from mirrord.session.processes import descendants
from mirrord.session.say import Sayings
from mirrord.tracer.followed import Followed, FollowingEngine

_PRICE: Final = "until the session ends each of its system calls stops it twice, as under strace"


class ByTracing:
    """The processes that a session traces."""

    def __init__(
        self,
        options: AttachOptions,
        engine: FollowingEngine,
        *,
        sayings: Sayings,
        end: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """``end`` ends the session, ``failed`` does so for a fault."""
        self._options: Final = options
        self.engine: Final = engine
        self._sayings: Final = sayings
        self._end: Final = end
        self._failed: Final = failed
        self._doors: Final[dict[int, OwnDoor]] = {}
        self._leaving = False

    @property
    def held(self) -> Iterable[int]:
        """The processes that were attached to."""
        return self._doors

    async def attach(self, table: CompleteTable, remember: Callable[[int], None]) -> None:
        """Trace the process, and its descendants if asked; raise AttachError."""
        pid = self._options.pid
        _require_no_session(pid)
        self._doors[pid] = OwnDoor(pid, self._end)
        remember(pid)
        try:
            found = await self.engine.attach(
                pid, lambda: self._others(remember), table, ended=self._ended, failed=self._failed
            )
        except BaseException:
            self.close()
            raise
        self._doors.update({other: OwnDoor(other, self._end) for other in found.threads if other != pid})
        self._say(found)

    async def let_go(self) -> None:
        """Continue what is held, and trace no more."""
        self._leaving = True
        await self.engine.let_go()

    def close(self) -> None:
        """Tell who waits for the end that the processes are local."""
        while self._doors:
            self._doors.popitem()[1].close()

    def _others(self, remember: Callable[[int], None]) -> Iterator[int]:
        """Give the descendants that are there, if asked; on the tracer's thread."""
        if not self._options.descendants:
            return
        for pid in list(descendants(self._options.pid)):
            if os.path.exists(doors.path_of(pid)):
                self._sayings.warn(f"warning: process {pid} is left alone: it has a keeper, or a session")
                continue
            remember(pid)
            yield pid

    def _ended(self) -> None:
        """Take note that the last process has ended, unless it was let go of."""
        if not self._leaving:
            self.close()
            self._sayings.info(f"process {self._options.pid} has ended")
            self._end()

    def _say(self, found: Followed) -> None:
        for pid, threads in found.threads.items():
            self._sayings.detail(f"process {pid}: {threads} thread{'s' * (threads > 1)}")
        for pid, error in found.refused.items():
            if os.path.exists(f"/proc/{pid}"):
                self._sayings.warn(f"warning: process {pid} runs locally: {error}")
        if found.stopped is None:
            self._sayings.info("a thread cannot be stopped yet, and runs locally until it can")
        else:
            self._sayings.detail(f"no thread was stopped for longer than {found.stopped * 1000:.1f} ms")
        self._sayings.info(_PRICE)


def _require_no_session(pid: int) -> None:
    """Raise AttachError for a process whose calls another session has, or a keeper."""
    if doors.is_open(pid):
        raise AttachError(
            f"process {pid} has been attached to before by the engine notify, whose filter stays with it",
            remedy="leave --engine, MIRRORD_ENGINE and --results out: then that engine is used again",
        )
    if (id := _session_of(pid)) is not None:
        raise AttachError(f"process {pid} is in a mirrord session already, {id}", remedy="end that first")


def _session_of(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            variables = stream.read().split(b"\0")
    except OSError:
        # it has ended, or hides itself: then it cannot be traced either
        return None
    living = {session.id for session in sessions()}
    named = (text.partition(b"=") for text in variables)
    found = {value.decode(errors="replace") for name, _, value in named if name == SESSION_VARIABLE.encode()}
    return next(iter(found & living), None)
