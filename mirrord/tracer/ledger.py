"""Which calls a session has received and not answered, where its keeper finds them when it is killed.

A call that was received waits for its answer and nothing else (``WAIT_KILLABLE_RECV``), and can be received
only once. Who answers it needs its id. So a session notes ids in memory that it shares with the keeper: the
last one that it received, and those that it holds. Ids count up: what was received a moment ago, and has not
been noted, is one of the next.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final

from mirrord_seccomp.notify import Listener, NotificationId

_WORD: Final = Struct("=Q")
_SLOTS: Final = 16_384
"""Calls that can be held at once: one of each thread."""
_AHEAD: Final = 1_024
"""Ids looked at beyond the last one: those between are of calls that signals have ended before they were
received.
"""


class Ledger:
    """The calls of one listener; ``fd`` is the memory, which stays the caller's."""

    def __init__(self, fd: int) -> None:
        self.fd: Final = fd
        self._memory: Final = mmap.mmap(fd, _WORD.size * (1 + _SLOTS))
        self._free: Final = list(range(_SLOTS, 0, -1))

    @classmethod
    def create(cls) -> "Ledger":
        """Make an empty one."""
        fd = os.memfd_create("mirrord-calls")
        os.ftruncate(fd, _WORD.size * (1 + _SLOTS))
        return cls(fd)

    def receive(self, id: NotificationId) -> None:
        """Note the call that was received last."""
        _WORD.pack_into(self._memory, 0, id)

    def hold(self, id: NotificationId, valid: Callable[[NotificationId], bool]) -> None:
        """Note a call that will be answered later; ``valid`` tells which of the older ones still wait."""
        if not self._free:
            self._free.extend(slot for slot in range(1, _SLOTS + 1) if not valid(self._at(slot)))
        if self._free:
            _WORD.pack_into(self._memory, _WORD.size * self._free.pop(), id)

    def owed(self) -> Iterator[NotificationId]:
        """Give the ids of all calls that may wait for an answer."""
        yield from (id for slot in range(1, _SLOTS + 1) if (id := self._at(slot)))
        last = self._at(0)
        if last:
            yield from (NotificationId((last + ahead) % 2**64) for ahead in range(_AHEAD))

    def clear(self) -> None:
        """Forget everything, for the next session."""
        self._memory[:] = bytes(len(self._memory))

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.fd)

    def _at(self, slot: int) -> NotificationId:
        return NotificationId(_WORD.unpack_from(self._memory, _WORD.size * slot)[0])


class NotingListener(Listener):
    """A listener that notes each call as it receives it."""

    __slots__ = ("ledger",)

    def __init__(self, fd: int, ledger: Ledger) -> None:
        super().__init__(fd)
        self.ledger: Final = ledger

    def receive(self) -> bool:
        """Wait for a call as :meth:`Listener.receive` does."""
        if not super().receive():
            return False
        self.ledger.receive(self.notification[0])
        return True
