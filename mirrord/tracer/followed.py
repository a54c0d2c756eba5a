"""The engine ``ptrace`` on processes that ran before the session, and that go on after it."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from mirrord.errors import AttachError
from mirrord.tracer import attachable
from mirrord.tracer.engine import Decisions
from mirrord.tracer.following import Following
from mirrord.tracer.traced import PtraceEngine

_PATIENCE: Final = 1.0
"""Seconds in which threads stop that can be stopped, and in which what is held is answered in the end."""
_TICK: Final = 0.002


@dataclass(slots=True)
class Followed:
    """What came of attaching: how many threads each process has, or why it could not be."""

    threads: dict[int, int] = field(default_factory=dict)
    refused: dict[int, AttachError] = field(default_factory=dict)
    stopped: float | None = None
    """Seconds for which a thread was stopped at most; None where some could not be stopped yet."""


class FollowingEngine(PtraceEngine):
    """A tracer's thread for processes that are not its own."""

    _following: Following | None = None
    _thread: threading.Thread | None = None

    async def attach(
        self,
        pid: int,
        others: Callable[[], Iterable[int]],
        decisions: Decisions,
        *,
        ended: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> Followed:
        """Decide the calls of a process, and of those ``others`` that may be attached to; raise AttachError
        when the process itself may not.

        On the event loop, ``ended`` is called when the last of them has ended, ``failed`` when a fault of the
        engine has let go of them.
        """
        settled: asyncio.Future[float] = self._loop.create_future()
        found: asyncio.Future[Followed] = self._loop.create_future()
        following = Following(
            decisions,
            self._bell,
            skipped=self._skipped,
            hold=self._hold,
            warn=self._warn,
            keep=self._keep,
            settled=lambda seconds: self._soon(settled.set_result, seconds),
        )
        self._tracing = self._following = following
        self._begin_with(following)

        def work() -> None:
            try:
                # first, as it tells best why the kernel may not let us trace
                result = _take_over(following, pid, others)
                self._bell.hang()
            except Exception as error:  # the session has to hear of it, on its own thread
                self._soon(found.set_exception, error)
                return
            self._soon(found.set_result, result)
            try:
                following.follow()
            except Exception as error:  # the processes go on without us
                self._soon(failed, error)
            else:
                self._soon(ended)

        self._thread = self._start(work)
        result = await found
        await asyncio.wait([settled], timeout=_PATIENCE)
        if settled.done():
            result.stopped = settled.result()
        return result

    async def let_go(self) -> None:
        """Leave every process to itself; return when nobody traces it any more. By now the handlers leave
        every call to the kernel.
        """
        if self._following is None or self._thread is None or self._held is None:
            return
        self._following.leave()
        for _ in range(int(_PATIENCE / _TICK)):
            # what was about to be held a moment ago, too
            self._held.let_go()
            if not self._thread.is_alive() and not self._traces():
                return
            await asyncio.sleep(_TICK)
        # the kernel does it, when this process ends

    def _traces(self) -> bool:
        """Tell whether the kernel has yet to take note that the tracer's thread has ended."""
        assert self._thread is not None
        assert self._following is not None
        tracer = self._thread.native_id
        return any(attachable.tracer_of(pid) == tracer for pid in self._following.followed)

    def _soon(self, act: Callable[..., Any], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(act, *arguments)


def _take_over(following: Following, pid: int, others: Callable[[], Iterable[int]]) -> Followed:
    found = Followed({pid: following.take_over(pid)})
    for other in others():
        try:
            found.threads[other] = following.take_over(other)
        except AttachError as error:
            found.refused[other] = error
    return found
