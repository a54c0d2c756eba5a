"""A call while somebody watches: it remembers what was read of the program, and what became of it."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic_ns
from typing import Final

from mirrord_seccomp.notify import NotificationId

from mirrord.syscall import Elsewhere, Enter, Fail, GiveFd, Gone, OpenPath, Return, Tid, Verdict
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.record import (
    CALL_KIND,
    LOCAL_SIZE,
    MOST_OF_AN_AREA,
    PATH,
    Answer,
    pack_call,
    pack_path,
)
from mirrord.tracer.recorder import Recorder
from mirrord.tracer.threads import Threads

_OURS: Final = (Return, Fail, GiveFd, Enter, OpenPath)
"""Verdicts after which the kernel does not run the call."""

Reader = Callable[["RecordedCall"], None]
"""Reads what people want to see of a call and its handler did not need."""
Filled = Callable[["RecordedCall", int], Iterable[tuple[int, bytes]]]
"""Reads what the kernel has put into memory in a call with this result."""


class RecordedCall(TrappedCall):
    """A call that remembers what was read of the program's memory."""

    __slots__ = (
        "_address",
        "_began",
        "_ended",
        "_here",
        "_more",
        "_path",
        "_place",
        "_recorder",
        "held",
        "take",
    )

    watched = True
    held: bool
    """It has waited for something remote, and keeps no place in the order."""
    take: Callable[[int], int] | None
    """Where its thread has to send its descriptors, as of a :class:`TakingCall`."""

    def __init__(
        self,
        id: NotificationId,
        tid: Tid,
        number: int,
        args: tuple[int, int, int, int, int, int],
        threads: Threads,
        recorder: Recorder,
    ) -> None:
        # what TrappedCall's does, without another call on each trap
        self.id = id
        self.tid = tid
        self.number = number
        self.args = args
        self.threads = threads
        self._recorder = recorder
        self._began = began = monotonic_ns()
        self._address = 0
        """Of the first path that was read, and nearly always all that is."""
        self._path = b""
        self._more: list[tuple[int, bytes]] | None = None
        self._here: tuple[tuple[int, bytes], ...] = ()
        self._place: list[bytes] | None = None
        self.held = False
        self.take = None
        if recorder.known.get(tid, 0) < began:
            recorder.look_at(tid)

    def here(self, address: int, data: bytes) -> None:
        """Note what stands on this machine for what the program has, or gets, at an address."""
        self._here = (*self._here, (address, data))

    def read(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` bytes of the program's memory; raise Fault."""
        data = super().read(address, size)
        self._see(address, data[:MOST_OF_AN_AREA])
        return data

    def string(self, address: int) -> bytes:
        """Return the path at ``address`` without its NUL."""
        path = self.threads.string(self.tid, self.id, address)
        if self._address:
            self._see(address, path + b"\0")
        else:
            self._address, self._path = address, path
        return path

    def _see(self, address: int, data: bytes) -> None:
        if self._more is None:
            self._more = []
        self._more.append((address, data))

    def duplicate(self, fd: int) -> int:
        """Return a duplicate of the program's descriptor; raise OSError EBADF."""
        return super().duplicate(fd) if self.take is None else self.take(fd)

    def look(self, address: int, size: int) -> bytes:
        """Return exactly ``size`` bytes of the program's memory without remembering that; raise Fault."""
        return super().read(address, size)

    def has_seen(self, address: int) -> bool:
        """Tell whether something was read there."""
        return self._address == address or any(at == address for at, _ in self._more or ())

    def look_closer(self) -> None:
        """Read what people want to see, before the answer lets the thread go on."""
        recorder, number = self._recorder, self.number
        only = recorder.paths.get(number)
        if only is not None and self._address == self.args[only]:
            # what nearly every call has: the one path that its handler needed
            return
        reader = recorder.readers.get(number)
        if reader is not None:
            try:
                reader(self)
            except (OSError, Gone, Elsewhere):
                # a bad pointer, or a thread that is gone or not to be looked into: there is less to see
                return

    def answering(self) -> None:
        """Keep a place in the order before the answer: the thread's next call may be noted on another
        thread.
        """
        self._place = [b""]
        self._recorder.add(self._place)

    def continued(self) -> None:
        """Note that the kernel runs the call. It is packed when it is taken: between two traps the program
        has the caches, and whatever a trap does beside its answer is done with cold ones.
        """
        self._ended = monotonic_ns()
        self._recorder.add(self)

    def packed(self) -> bytes:
        """Return the record of a call that was :meth:`continued`."""
        if self._more is not None or self._here or not self._address:
            return self._pack(Answer.CONTINUED, 0, ())
        size = len(self._path)
        head = pack_path(
            LOCAL_SIZE + size, CALL_KIND, 0, 1, self.tid, self.number, self._began, self._ended, 0,
            *self.args, self._address, size, PATH,
        )  # fmt: skip
        return head + self._path

    def answered(self, verdict: Verdict, result: int) -> None:
        """Note the answer that the call has got, and the result that came of it."""
        written = verdict.writes if isinstance(verdict, Return | GiveFd) else ()
        self._note(_answer(verdict, result), result, written)

    def result_of(self, verdict: Verdict) -> "Callable[[int | None], None] | None":
        """Return whom to tell the result that the kernel gives, None where that is not asked for."""
        return self._ran if self._recorder.results and not isinstance(verdict, _OURS) else None

    def _ran(self, result: int | None) -> None:
        """Note what the kernel gave, and filled; None where the call does not return."""
        if result is None:
            self._note(Answer.CONTINUED, 0, ())
        else:
            self._note(Answer.RAN, result, self._filled(result) if result >= 0 else ())

    def _filled(self, result: int) -> tuple[tuple[int, bytes], ...]:
        areas: list[tuple[int, bytes]] = []
        filled = self._recorder.fillers.get(self.number)
        if filled is not None:
            with suppress(OSError, Gone, Elsewhere):
                # there is less to see then
                areas.extend(filled(self, result))
        return tuple(areas)

    def _note(self, answer: Answer, result: int, written: tuple[tuple[int, bytes], ...]) -> None:
        self._ended = monotonic_ns()
        record = self._pack(answer, result, written)
        if self._place is None:
            self._recorder.add(record)
        else:
            self._place[0] = record

    def _pack(self, answer: Answer, result: int, written: tuple[tuple[int, bytes], ...]) -> bytes:
        return pack_call(
            tid=self.tid,
            number=self.number,
            args=self.args,
            answer=answer,
            held=self.held or self._place is not None,
            result=result,
            began=self._began,
            ended=self._ended,
            path=(self._address, self._path) if self._address else None,
            read=self._more or (),
            written=written,
            here=self._here,
        )


def _answer(verdict: Verdict, result: int) -> Answer:
    if not isinstance(verdict, _OURS):
        return Answer.CONTINUED
    if result < 0:
        return Answer.FAILED
    return Answer.GAVE_FD if isinstance(verdict, GiveFd | OpenPath) else Answer.RETURNED
