"""Put the segments of one direction of a TCP connection back into order, whatever their order was.

Positions count the direction's bytes from where it was joined, without wrapping. Of bytes that came twice the
first ones count, as at the receiver.
"""

from bisect import bisect_right
from typing import Final

_MOST_AHEAD: Final = 2**30
"""The largest window that TCP can have (RFC 7323, 2.3): what is further ahead is of no use to anybody."""
_OVERHEAD: Final = 128
"""Bytes that a kept piece takes beside its own."""
_HALF: Final = 2**31
_WHOLE: Final = 2**32


class Reassembler:
    """The bytes that a client sends, in order."""

    __slots__ = ("_end", "_held", "first", "held_memory", "position")

    def __init__(self, first: int) -> None:
        """``first`` is the sequence number of the byte at position 0."""
        self.first: Final = first
        self._held: Final[list[tuple[int, bytes]]] = []
        self._end: int | None = None
        self.position: int = 0
        """How many bytes have been given out."""
        self.held_memory: int = 0
        """Bytes taken by what is kept, since something before it is missing."""

    @property
    def finished(self) -> bool:
        """Whether everything up to the client's FIN has been given out."""
        return self._end == self.position

    def take(self, sequence: int, payload: memoryview, *, fin: bool = False) -> list[bytes]:
        """Take a segment; return the bytes that are in order now, in pieces."""
        start = self._position(sequence)
        if start - self.position > _MOST_AHEAD:
            return []
        if fin and self._end is None and start + len(payload) >= self.position:
            self._end = start + len(payload)
        if self._end is not None:
            payload = payload[: max(0, self._end - start)]
        if start < self.position:
            payload = payload[self.position - start :]
            start = self.position
        if not payload:
            return []
        if start == self.position and not self._held:
            self.position += len(payload)
            return [bytes(payload)]
        self._hold(start, payload)
        return self._in_order()

    def has_hole_before(self, acknowledged: int) -> bool:
        """Tell whether the receiver has acknowledged bytes, or a FIN, that never came here."""
        position = self._position(acknowledged)
        if position > self.position + _MOST_AHEAD:
            return False
        return position > self.position + (1 if self.finished else 0)

    def _position(self, sequence: int) -> int:
        """Return the position that a sequence number means: the one nearest to where we are."""
        distance = (sequence - self.first - self.position) % _WHOLE
        return self.position + (distance - _WHOLE if distance >= _HALF else distance)

    def _hold(self, start: int, payload: memoryview) -> None:
        """Keep the parts of a segment that are not there yet."""
        held = self._held
        at = bisect_right(held, start, key=_start)
        end = start + len(payload)
        place = start
        if at:
            before, data = held[at - 1]
            place = max(place, before + len(data))
        while place < end:
            following, size = (held[at][0], len(held[at][1])) if at < len(held) else (end, 0)
            if place < following:
                piece = bytes(payload[place - start : min(end, following) - start])
                held.insert(at, (place, piece))
                self.held_memory += len(piece) + _OVERHEAD
                at += 1
            place = following + size
            at += 1

    def _in_order(self) -> list[bytes]:
        count = 0
        for start, data in self._held:
            if start != self.position:
                break
            self.position += len(data)
            count += 1
        ready = [data for _, data in self._held[:count]]
        del self._held[:count]
        self.held_memory -= sum(map(len, ready)) + _OVERHEAD * count
        return ready


def _start(piece: tuple[int, bytes]) -> int:
    return piece[0]
