"""Which calls a session has received and not answered, where its keeper finds them when it is killed.

A call that was received waits for its answer and nothing else (``WAIT_KILLABLE_RECV``), and can be received
only once. Who answers it needs its id. So a session receives into memory that it shares with the keeper,
where the kernel itself puts the id, and notes there what it holds before it receives the next.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from mirrord_seccomp.notify import NOTIFICATION_SIZE, Listener, NotificationId

_WORD: Final = Struct("=Q")
_SLOTS: Final = 16_384
"""Calls that can be held at once: one of each thread."""
_SIZE: Final = NOTIFICATION_SIZE + _WORD.size * _SLOTS


class Ledger:
    """The calls of one listener; ``fd`` is the memory."""

    def __init__(self, fd: int) -> None:
        self.fd: Final = fd
        self._memory: Final = mmap.mmap(fd, _SIZE)
        self._free: Final = list(range(_SLOTS))

    @classmethod
    def create(cls) -> "Ledger":
        """Make an empty one."""
        fd = os.memfd_create("mirrord-calls")
        os.ftruncate(fd, _SIZE)
        return cls(fd)

    def listener(self, fd: int) -> Listener:
        """Return a listener that receives into the ledger."""
        return Listener(fd, self._memory)

    def hold(self, id: NotificationId, valid: Callable[[NotificationId], bool]) -> None:
        """Note a call that will be answered later; ``valid`` tells which of the older ones still wait."""
        if not self._free:
            self._free.extend(slot for slot in range(_SLOTS) if not valid(self._at(slot)))
        if self._free:
            _WORD.pack_into(self._memory, NOTIFICATION_SIZE + _WORD.size * self._free.pop(), id)

    def owed(self) -> Iterator[NotificationId]:
        """Give the ids of all calls that may wait for an answer."""
        last = NotificationId(_WORD.unpack_from(self._memory, 0)[0])
        yield from (id for id in (last, *map(self._at, range(_SLOTS))) if id)

    def clear(self) -> None:
        """Forget everything, for the next session."""
        self._memory[:] = bytes(_SIZE)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.fd)

    def _at(self, slot: int) -> NotificationId:
        return NotificationId(_WORD.unpack_from(self._memory, NOTIFICATION_SIZE + _WORD.size * slot)[0])
