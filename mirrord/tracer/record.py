"""What the gate notes of one call while somebody watches: packed bytes, to be formatted elsewhere.

A record is made on the way of a trap, so it takes what is at hand as it is; all that is for people is done by
the process that shows it.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

_CALL: Final = struct.Struct("=IBBHIiQQq6Q")
"""Size of the whole record, kind, answer, number of areas; thread, call; begun, ended; result; arguments."""
_AREA: Final = struct.Struct("=QIBxxx")
"""Address, size of what follows, what it is: 0 for what was read, or one of the next three."""
_WRITTEN: Final = 1
_HERE: Final = 2
PATH: Final = 3
"""A path that was read, of which the NUL is left out."""
_THREAD: Final = struct.Struct("=IBBHIIIi")
"""Size of the whole record, kind, 0, size of the name; thread, process, its parent; 0."""
_HEAD: Final = struct.Struct("=IB")
CALL_KIND: Final = 1
_THREAD_KIND: Final = 2
_HELD: Final = 0x80
MOST_OF_AN_AREA: Final = 256
"""Bytes kept of what was read; a path is kept whole."""
_WITH_PATH: Final = struct.Struct(_CALL.format + _AREA.format.removeprefix("="))
LOCAL_SIZE: Final = _WITH_PATH.size
pack_path: Final = _WITH_PATH.pack
"""The bytes before the path of a call of which nothing else was read: nearly all are such. What it takes is
what :func:`pack_call` packs; on the way of a trap another function would be felt.
"""

RESTARTS: Final = {
    -512: "ERESTARTSYS (To be restarted if SA_RESTART is set)",
    -513: "ERESTARTNOINTR (To be restarted)",
    -514: "ERESTARTNOHAND (To be restarted if no handler)",
    -516: "ERESTART_RESTARTBLOCK (Interrupted by signal)",
}
"""Results that only a tracer sees: what the kernel does after the signal (include/linux/errno.h)."""


class Answer(IntEnum):
    """What became of a call."""

    CONTINUED = 0
    RETURNED = 1
    FAILED = 2
    GAVE_FD = 3
    RAN = 4
    """The kernel ran it, as with CONTINUED, and its result is known (``--results``)."""


_ANSWERS: Final = tuple(Answer)
"""By their numbers."""


class Area(NamedTuple):
    """Bytes of the program's memory: what was read of it, or was written to it in the call."""

    address: int
    data: bytes
    written: bool = False


class CallRecord(NamedTuple):
    """One call and its answer; a tuple, as who watches makes thousands a second."""

    tid: int
    number: int
    args: tuple[int, int, int, int, int, int]
    answer: Answer
    held: bool
    """It waited for something remote."""
    result: int
    """What the program got, ``-errno`` for a failure; 0 where the kernel ran the call and nobody looked."""
    began: int
    ended: int
    """Nanoseconds of the monotonic clock."""
    areas: tuple[Area, ...]
    here: tuple[Area, ...] = ()
    """What stood on this machine for what the program had at these addresses, or got there: a placeholder's
    path, the address of a relay.
    """

    @property
    def ours(self) -> bool:
        """Tell whether we have answered it, and the kernel has not run it."""
        return self.answer not in (Answer.CONTINUED, Answer.RAN)

    @property
    def repeated(self) -> bool:
        """Tell whether a signal has interrupted it, after which the kernel makes it again, or fails it."""
        return self.answer is Answer.RAN and self.result in RESTARTS

    @property
    def known(self) -> bool:
        """Tell whether it is known what the program got."""
        return self.answer is not Answer.CONTINUED and not self.repeated

    @property
    def failed(self) -> bool:
        """Tell whether the program is known to have got an errno."""
        return self.known and self.result < 0

    @property
    def filled(self) -> bool:
        """Tell whether it is known what the program's memory was filled with."""
        return self.known and not self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRecord:
    """Whose thread it is that calls; before its first call, and again after ``execve``."""

    tid: int
    pid: int
    parent: int
    name: str


def pack_call(
    *,
    tid: int,
    number: int,
    args: tuple[int, int, int, int, int, int],
    answer: Answer,
    held: bool,
    result: int,
    began: int,
    ended: int,
    read: Sequence[tuple[int, bytes]],
    written: tuple[tuple[int, bytes], ...],
    path: tuple[int, bytes] | None = None,
    here: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """Return the bytes of one call; ``path`` is the one that was read first."""
    areas = [(address, data, 0) for address, data in read]
    if path is not None:
        areas.insert(0, (*path, PATH))
    areas += [(address, data[:MOST_OF_AN_AREA], _WRITTEN) for address, data in written]
    areas += [(address, data, _HERE) for address, data in here]
    size = _CALL.size + sum(_AREA.size + len(data) for _, data, _ in areas)
    code = answer | _HELD if held else answer
    head = _CALL.pack(size, CALL_KIND, code, len(areas), tid, number, began, ended, result, *args)
    packed = [part for address, data, kind in areas for part in (_AREA.pack(address, len(data), kind), data)]
    return b"".join((head, *packed))


def pack_thread(thread: ThreadRecord) -> bytes:
    """Return the bytes of what is known of a thread."""
    name = thread.name.encode("utf-8", "surrogateescape")
    size = _THREAD.size + len(name)
    return _THREAD.pack(size, _THREAD_KIND, 0, len(name), thread.tid, thread.pid, thread.parent, 0) + name


def unpack(data: bytes) -> Iterator[CallRecord | ThreadRecord]:
    """Return the records in a number of bytes; raise ValueError for what is none."""
    at = 0
    while at < len(data):
        try:
            size, kind = _HEAD.unpack_from(data, at)
            if size <= _HEAD.size or at + size > len(data):
                raise ValueError(f"a record of {size} bytes at {at} of {len(data)}")
            if kind == CALL_KIND:
                yield _unpack_call(data, at)
            elif kind == _THREAD_KIND:
                yield _unpack_thread(data, at)
            else:
                raise ValueError(f"a record of the unknown kind {kind}")
        except (struct.error, IndexError) as error:
            raise ValueError(f"a record that is cut short: {error}") from error
        at += size


def _unpack_call(data: bytes, at: int) -> CallRecord:
    _, _, code, count, tid, number, began, ended, result, a0, a1, a2, a3, a4, a5 = _CALL.unpack_from(data, at)
    areas: list[Area] = []
    here: list[Area] = []
    at += _CALL.size
    for _ in range(count):
        address, size, kind = _AREA.unpack_from(data, at)
        at += _AREA.size
        content = data[at : at + size] + (b"\0" if kind == PATH else b"")
        area = Area(address, content, kind == _WRITTEN)
        (here if kind == _HERE else areas).append(area)
        at += size
    return CallRecord(
        tid, number, (a0, a1, a2, a3, a4, a5), _ANSWERS[code & ~_HELD], bool(code & _HELD), result,
        began, ended, tuple(areas), tuple(here),
    )  # fmt: skip


def _unpack_thread(data: bytes, at: int) -> ThreadRecord:
    _, _, _, size, tid, pid, parent, _ = _THREAD.unpack_from(data, at)
    at += _THREAD.size
    name = data[at : at + size].decode("utf-8", "surrogateescape")
    return ThreadRecord(tid=tid, pid=pid, parent=parent, name=name)
