"""From the frames of a session to events."""

from collections.abc import Sequence
from typing import Final, Literal

from mirrord.feed.models import SessionInfo
from mirrord.trace.event import Argument, Event, Plane, Side
from mirrord.trace.explain import Explainer, Why
from mirrord.tracer.record import Answer, CallRecord, ThreadRecord
from mirrord.tracer.text import call
from mirrord.tracer.text.call import Rewritten
from mirrord.tracer.text.memory import Memory
from mirrord.tracer.text.prototypes import prototype

_ANSWERS: Final[dict[Answer, Literal["continued", "returned", "failed", "descriptor"]]] = {
    Answer.CONTINUED: "continued",
    Answer.RETURNED: "returned",
    Answer.FAILED: "failed",
    Answer.GAVE_FD: "descriptor",
    Answer.RAN: "continued",
}
_CARRYING: Final = frozenset({"sendto", "sendmsg", "recvfrom", "recvmsg"})
_NS: Final = 1e9


class Call:
    """One record, and what is worked out of it when it is asked for."""

    __slots__ = ("_arguments", "_why", "record", "thread")

    def __init__(self, record: CallRecord, thread: ThreadRecord) -> None:
        self.record: Final = record
        self.thread: Final = thread
        self._arguments: tuple[str, ...] | None = None
        self._why: Why | None = None

    @property
    def _memory(self) -> Memory:
        return Memory(self.record.areas)

    @property
    def name(self) -> str:
        """What the call is called."""
        return call.name(self.record)

    @property
    def paths(self) -> tuple[int, ...]:
        """Which arguments are paths."""
        return prototype(self.record.number).paths

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments, as strace(1) writes them."""
        if self._arguments is None:
            self._arguments = call.arguments(self.record, self._memory)
        return self._arguments

    @property
    def rewritten(self) -> dict[int, Rewritten]:
        """The arguments that were other ones on this machine, by their places."""
        return call.rewritten(self.record, self._memory)

    @property
    def full_arguments(self) -> Sequence[str]:
        """The arguments; of one that was another on this machine ``was → became``."""
        rewritten = self.rewritten
        if not rewritten:
            return self.arguments
        return [" → ".join(rewritten.get(at, (text,))) for at, text in enumerate(self.arguments)]

    @property
    def seconds(self) -> float:
        """How long it took until it was answered."""
        return (self.record.ended - self.record.began) / _NS

    def why(self, explainer: Explainer) -> Why:
        """Return where it went and why."""
        if self._why is None:
            self._why = explainer.why(self.record, self._memory)
        return self._why

    def event(self, explainer: Explainer, info: SessionInfo) -> Event:
        """Return everything."""
        record, why = self.record, self.why(explainer)
        carried = self.name in _CARRYING and record.filled
        return Event(
            time=(record.began + info.clock) / _NS,
            pid=self.thread.pid,
            tid=record.tid,
            command=self.thread.name,
            call=self.name,
            arguments=self.arguments,
            rewritten=tuple(
                Argument(place=at, was=was, became=became) for at, (was, became) in self.rewritten.items()
            ),
            plane=why.plane,
            side=why.side,
            rule=why.rule,
            answer=_ANSWERS[record.answer],
            result=record.result if record.known else None,
            error=call.error_name(record),
            held=record.held,
            duration=self.seconds,
            bytes=record.result if carried else None,
        )


class Threads:
    """Which process each thread belongs to."""

    def __init__(self) -> None:
        self._threads: Final[dict[int, ThreadRecord]] = {}

    def learn(self, thread: ThreadRecord) -> None:
        """Take what a session tells of a thread."""
        self._threads[thread.tid] = thread

    def of(self, tid: int) -> ThreadRecord:
        """Return what is known of a thread."""
        return self._threads.get(tid) or ThreadRecord(tid=tid, pid=tid, parent=0, name="?")


class Selection:
    """Which calls are shown: planes and names of calls, all without any."""

    def __init__(self, words: frozenset[str] = frozenset()) -> None:
        self._words: Final = words

    def __bool__(self) -> bool:
        return bool(self._words)

    def has(self, name: str, plane: Plane, side: Side) -> bool:
        """Tell whether a call is shown."""
        words = self._words
        return not words or name in words or plane in words or side in words
