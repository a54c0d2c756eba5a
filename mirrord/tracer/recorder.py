"""Remembers calls while somebody watches: what was read of the program, and what became of it.

Nothing of this runs without a watcher. With one, a trap takes some microseconds more, and never waits: what a
full queue has no room for is counted and dropped.
"""

import os
from collections import deque
from collections.abc import Iterable
from functools import cached_property
from time import monotonic_ns
from typing import TYPE_CHECKING, Final, Protocol

from mirrord.tracer.record import ThreadRecord, pack_thread

if TYPE_CHECKING:
    from mirrord.tracer.recorded import Filled, Reader

MOST_RECORDS: Final = 100_000
"""Records that wait to be sent: some 60 MB."""
_KNOWN_FOR: Final = 1_000_000_000
"""Nanoseconds for which a thread is taken for what it was: its number may become another's."""
_MOST_THREADS: Final = 4096


class Packable(Protocol):
    """What becomes a record when it is taken."""

    def packed(self) -> bytes:
        """Return the record."""


class Recorder:
    """The records that nobody has taken yet. The gate's thread and the loop's add to it, the loop's takes."""

    def __init__(self, trapped: Iterable[int], *, most: int = MOST_RECORDS, results: bool = False) -> None:
        """``trapped`` are the numbers of the calls that there may be; ``results`` asks for what comes of
        those that the kernel runs, which only the ptrace engine learns.
        """
        self.results: Final = results
        self._trapped: Final = tuple(trapped)
        self.dropped: int = 0
        """Records that there was no room for, ever."""
        self._queue: Final[deque[bytes | list[bytes] | Packable]] = deque()
        self._most: Final = most
        self.known: Final[dict[int, int]] = {}
        """Until when each thread is taken for what it was; for what is recorded."""

    @cached_property
    def paths(self) -> dict[int, int]:
        """Which argument is a call's only path, and all that is to be read of it; made likewise."""
        from mirrord.tracer.closer import only_paths

        return only_paths(self._trapped)

    @cached_property
    def readers(self) -> "dict[int, Reader]":
        """Who reads more of each call; made when somebody comes to watch."""
        # python-ptrace's tables take long to import, and only a session that is watched needs them
        from mirrord.tracer.closer import readers

        return readers(self._trapped)

    @cached_property
    def fillers(self) -> "dict[int, Filled]":
        """Who reads what the kernel has filled; made likewise."""
        from mirrord.tracer.filled import fillers

        return fillers(self._trapped)

    def forget(self, tid: int) -> None:
        """Look at a thread afresh: it is about to execute another program."""
        self.known.pop(tid, None)

    def start_over(self) -> None:
        """Begin for somebody who knows nothing yet."""
        # their import takes tens of milliseconds, which the first call that is recorded would wait for
        _ = self.readers, self.paths
        if self.results:
            _ = self.fillers
        self._queue.clear()
        self.known.clear()

    def add(self, record: bytes | list[bytes] | Packable) -> None:
        """Take a record, what is to become one, or the place of one that is completed before the next
        :meth:`take`.
        """
        if len(self._queue) < self._most:
            self._queue.append(record)
        else:
            self.dropped += 1

    def take(self) -> list[bytes]:
        """Return what has come since the last time."""
        queue = self._queue
        taken = [queue.popleft() for _ in range(len(queue))]
        return [_packed(record) for record in taken]

    def look_at(self, tid: int) -> None:
        """Note whose thread it is that calls; for what is recorded."""
        if len(self.known) > _MOST_THREADS:
            self.known.clear()
        self.known[tid] = monotonic_ns() + _KNOWN_FOR
        thread = look_at(tid)
        if thread is not None:
            self.add(pack_thread(thread))


def _packed(record: bytes | list[bytes] | Packable) -> bytes:
    if isinstance(record, bytes):
        return record
    return record[0] if isinstance(record, list) else record.packed()


def look_at(tid: int) -> ThreadRecord | None:
    """Return what /proc tells of a thread, None when it is gone (proc_pid_status(5))."""
    try:
        fd = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # it has ended
        return None
    try:
        text = os.read(fd, 4096).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    finally:
        os.close(fd)
    fields = dict(line.partition(":")[::2] for line in text.splitlines())
    return ThreadRecord(
        tid=tid, pid=int(fields["Tgid"]), parent=int(fields["PPid"]), name=fields["Name"].lstrip("\t")
    )
