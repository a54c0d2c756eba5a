"""Follow the connections to some ports by their packets, and copy what their clients send; no I/O here.

A connection whose beginning was seen is copied from its first byte. Of any other the next HTTP request that
begins a segment is waited for: HTTP is without state between requests, and nothing else can be joined in the
middle. So one that has lost a part, which ends its copy, is joined again in the same way.
"""

import errno
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from mirrord_agent.mirror.packets import ACK, FIN, RST, SYN, End, Segment
from mirrord_agent.mirror.reassembly import Reassembler

MOST_FLOWS: Final = 16_384
"""Connections that are copied at once; for one more, the copy that has been idle longest ends."""
MOST_HALF_OPEN: Final = 4_096
"""Connections of which only the SYN was seen; and those that have ended, and may still repeat something."""
MOST_HELD: Final = 4 * 1024 * 1024
"""Bytes of one connection that are kept for the sake of an earlier one that is missing."""
MOST_HELD_OF_ALL: Final = 64 * 1024 * 1024
_REQUEST: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} [!-~\x80-\xff]{1,16384} HTTP/1\.[01]\r?\n")
"""A request line (RFC 9112, 3)."""
Key = tuple[End, End]
"""The client, and the address it has connected to."""


class Copy(Protocol):
    """Where the bytes of one connection go."""

    def data(self, data: bytes) -> int:
        """Take bytes; return 0, or the errno for which no more can be taken."""

    def fin(self) -> None:
        """Note that the client sends no more."""

    def reset(self, errno: int) -> None:
        """Note that the copy cannot go on."""


class Flow:
    """One connection that is copied."""

    __slots__ = ("copy", "reassembler")

    def __init__(self, copy: Copy, first: int) -> None:
        self.copy: Final = copy
        self.reassembler: Final = Reassembler(first)


class Flows:
    """The connections to the ports that are mirrored."""

    def __init__(self, begin: Callable[[End, End], Copy]) -> None:
        """``begin`` makes the copy of a connection from a client to a local address."""
        self._ports: Final[set[int]] = set()
        self._closing: Final[set[int]] = set()
        """Ports to which no further connection is copied."""
        self.counts: Final[Counter[str]] = Counter()
        """What has happened so far: copies begun and how they ended."""
        self._begin: Final = begin
        self._flows: Final[OrderedDict[Key, Flow]] = OrderedDict()
        """The one that has been idle longest comes first."""
        self._half_open: Final[OrderedDict[Key, tuple[int, bytes]]] = OrderedDict()
        """By connection, the number of the first byte, and what came with the SYN (RFC 7413)."""
        self._ended: Final[OrderedDict[Key, None]] = OrderedDict()
        self._held: int = 0

    def __len__(self) -> int:
        return len(self._flows)

    def take(self, segment: Segment) -> None:
        """Take one segment, in the order in which they passed."""
        to_server = (segment.source, segment.destination)
        from_server = (segment.destination, segment.source)
        if segment.destination.port in self._ports and from_server not in self._flows:
            self._from_client(to_server, segment)
        elif segment.source.port in self._ports:
            self._from_server(from_server, segment)

    @property
    def ports(self) -> frozenset[int]:
        """The ports whose packets are needed."""
        return frozenset(self._ports)

    def add(self, port: int) -> None:
        """Copy connections to a port from now on."""
        self._ports.add(port)
        self._closing.discard(port)

    def remove(self, port: int) -> None:
        """Copy no further connections to a port; those that are copied go on to their end."""
        if port in self._ports:
            self._closing.add(port)
            for key in [key for key in self._half_open if key[1].port == port]:
                del self._half_open[key]

    def forget_idle(self) -> bool:
        """Forget removed ports to which no connection is copied any more; return whether there were any."""
        idle = self._closing.difference(key[1].port for key in self._flows)
        self._ports.difference_update(idle)
        self._closing.difference_update(idle)
        return bool(idle)

    # What clients send.

    def _from_client(self, key: Key, segment: Segment) -> None:
        flow = self._flows.get(key)
        if segment.flags & SYN:
            self._syn(key, flow, segment)
        elif segment.flags & RST:
            self._half_open.pop(key, None)
            if flow is not None:
                self._end(key, flow, "reset")
                flow.copy.reset(errno.ECONNRESET)
        elif flow is not None:
            self._bytes(key, flow, segment)
        elif segment.flags & ACK:
            self._first(key, segment)

    def _syn(self, key: Key, flow: Flow | None, segment: Segment) -> None:
        first = (segment.sequence + 1) % 2**32
        if flow is not None:
            if flow.reassembler.first == first:
                # it was sent twice
                return
            self._end(key, flow, "replaced")
            flow.copy.reset(errno.ECONNRESET)
        self._ended.pop(key, None)
        if key[1].port in self._closing:
            return
        self._half_open[key] = first, bytes(segment.payload)
        if len(self._half_open) > MOST_HALF_OPEN:
            self._half_open.popitem(last=False)

    def _first(self, key: Key, segment: Segment) -> None:
        """Take a segment of a connection that is not copied yet: it may be the end of its handshake."""
        if (half_open := self._half_open.pop(key, None)) is not None:
            first, early = half_open
            opened = self._open(key, first)
            if early:
                self._give(key, opened, opened.reassembler.take(first, memoryview(early)))
        elif self._may_join(key) and segment.payload and _REQUEST.match(segment.payload):
            self._open(key, segment.sequence)
            self.counts["joined"] += 1
        else:
            return
        if (flow := self._flows.get(key)) is not None:
            self._bytes(key, flow, segment)

    def _may_join(self, key: Key) -> bool:
        return key not in self._ended and key[1].port not in self._closing

    def _open(self, key: Key, first: int) -> Flow:
        if len(self._flows) >= MOST_FLOWS:
            idle, flow = next(iter(self._flows.items()))
            self._lose(idle, flow, "idle", errno.ETIMEDOUT)
        self.counts["connections"] += 1
        flow = self._flows[key] = Flow(self._begin(*key), first)
        return flow

    def _bytes(self, key: Key, flow: Flow, segment: Segment) -> None:
        self._flows.move_to_end(key)
        reassembler = flow.reassembler
        before = reassembler.held_memory
        ready = reassembler.take(segment.sequence, segment.payload, fin=bool(segment.flags & FIN))
        self._held += reassembler.held_memory - before
        if not self._give(key, flow, ready):
            return
        if reassembler.finished:
            self._end(key, flow, "finished")
            flow.copy.fin()
        elif reassembler.held_memory > MOST_HELD or self._held > MOST_HELD_OF_ALL:
            self._lose(key, flow, "holes", errno.ENODATA)

    def _give(self, key: Key, flow: Flow, ready: list[bytes]) -> bool:
        """Give bytes to the copy; return whether it goes on."""
        for data in ready:
            self.counts["bytes"] += len(data)
            if number := flow.copy.data(data):
                self._end(key, flow, "too slow" if number == errno.ENOBUFS else "abandoned")
                flow.copy.reset(number)
                return False
        return True

    # What the target answers.

    def _from_server(self, key: Key, segment: Segment) -> None:
        flow = self._flows.get(key)
        if segment.flags & RST:
            self._half_open.pop(key, None)
            if flow is not None:
                # the client is gone for the target; it has not gone by itself
                self._end(key, flow, "reset by the target")
                flow.copy.fin()
        elif (
            flow is not None
            and segment.flags & ACK
            and flow.reassembler.has_hole_before(segment.acknowledged)
        ):
            self._lose(key, flow, "holes", errno.ENODATA)

    def _lose(self, key: Key, flow: Flow, how: str, number: int) -> None:
        """End the copy of a connection that goes on: it may be joined again."""
        self._end(key, flow, how)
        del self._ended[key]
        flow.copy.reset(number)

    def _end(self, key: Key, flow: Flow, how: str) -> None:
        self.counts[how] += 1
        self._held -= flow.reassembler.held_memory
        del self._flows[key]
        self._ended[key] = None
        if len(self._ended) > MOST_HALF_OPEN:
            self._ended.popitem(last=False)
