"""Calls that wait for something remote, on the event loop.

While any is held, a tick looks whether its thread still waits (a killed one's work is cancelled) and, for
those that signals may interrupt, whether a signal has come: then the wait is cancelled. If that leaves it
without a verdict, the call is continued into the kernel, which does what it would have done.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol

from mirrord_seccomp.notify import NotificationId

from mirrord.syscall import CONTINUE, Gone, Verdict, Wait
from mirrord.tracer import signals
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.excuses import Excuses, Warn
from mirrord.tracer.threads import Threads

_TICK: Final = 0.02
_TICK_PER_CALL: Final = 0.0001
"""Reading one status costs about 15 µs: with many held calls the tick slows down, so that it takes a sixth of
a CPU at most.
"""


class Answers(Protocol):
    """What an engine does for calls that it gave away to be decided here."""

    def valid(self, id: NotificationId) -> bool:
        """Tell whether a call still waits."""

    def carry_out(self, call: TrappedCall, verdict: Verdict) -> None:
        """Answer a call, which may wait no more."""


class HeldCalls:
    """The calls that have no answer yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answers: Answers, *, warn: Warn) -> None:
        self._loop: Final = loop
        self._answers: Final = answers
        self._excuses: Final = Excuses(warn)
        # the gate's own thread closes descriptors of its entries: this thread needs entries of its own
        self._threads: Final = Threads(answers.valid)
        self._tasks: Final[dict[asyncio.Task[None], tuple[TrappedCall, Wait]]] = {}
        self._watch: asyncio.TimerHandle | None = None

    def hold(self, call: TrappedCall, wait: Wait) -> None:
        """Take over a call; may be called from any thread."""
        call.threads = self._threads
        self._loop.call_soon_threadsafe(self._start, call, wait)

    def forget_thread(self, tid: int) -> None:
        """Look at a thread afresh; from any thread, before its next call is held.

        What is known of a thread was learned for a call of its own, and it is in another one now: so the loop
        is woken only where there is something to forget, and not at every ``execve``.
        """
        if self._threads.knows(tid):
            self._loop.call_soon_threadsafe(self._threads.forget, tid)

    def forget_threads(self) -> None:
        """Look at every thread afresh; from any thread."""
        self._loop.call_soon_threadsafe(self._threads.forget_all)

    def let_go(self) -> None:
        """Continue every call that waits."""
        for task in list(self._tasks):
            self._cancel(task)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        # after its first step: what its answer has begun is its to end
        self._loop.call_soon(task.cancel)

    def _start(self, call: TrappedCall, wait: Wait) -> None:
        try:
            answer = wait.answer()
        except Exception as error:  # a call always gets an answer
            self._answers.carry_out(call, self._excuses.answer(call, call.number, error))
            return
        task = self._loop.create_task(self._answer(call, answer))
        self._tasks[task] = (call, wait)
        task.add_done_callback(self._ended)
        if self._watch is None:
            self._watch = self._loop.call_later(_TICK, self._tick)

    def _ended(self, task: asyncio.Task[None]) -> None:
        call, _ = self._tasks.pop(task)
        if task.cancelled():
            self._answers.carry_out(call, CONTINUE)

    async def _answer(self, call: TrappedCall, answer: Awaitable[Verdict]) -> None:
        self._answers.carry_out(call, await self._verdict(call, answer))

    async def _verdict(self, call: TrappedCall, answer: Awaitable[Verdict]) -> Verdict:
        try:
            return await answer
        except Exception as error:  # a call always gets an answer
            return self._excuses.answer(call, call.number, error)

    def _tick(self) -> None:
        for task, (call, wait) in list(self._tasks.items()):
            self._look_at(task, call, wait)
        self._watch = None
        if self._tasks:
            self._watch = self._loop.call_later(max(_TICK, _TICK_PER_CALL * len(self._tasks)), self._tick)

    def _look_at(self, task: asyncio.Task[None], call: TrappedCall, wait: Wait) -> None:
        try:
            if not self._answers.valid(call.id) or (wait.interruptible and signals.pending(call.tid)):
                self._cancel(task)
        except Gone:
            self._cancel(task)
