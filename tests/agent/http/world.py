"""A client, a splitter and two servers, without any socket."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mirrord_agent.http.filter import HttpFilter
from mirrord_agent.http.output import (
    Decider,
    FinClient,
    FinServer,
    Forget,
    Limits,
    Output,
    ResetClient,
    Server,
    Side,
    Splitter,
    ToClient,
    ToServer,
)

TAKE: Final = HttpFilter(header_filter="^x-take: yes$")


class World:
    """Does what a splitter says, and keeps what everyone got."""

    def __init__(self, splitter: Splitter) -> None:
        self.splitter = splitter
        self.client = bytearray()
        self.servers: dict[Server, bytearray] = {}
        self.ended: set[Server] = set()
        self.forgotten: set[Server] = set()
        self.client_fin = self.client_reset = 0

    def do(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if isinstance(output, ToClient):
                assert not self.client_fin
                assert not self.client_reset
                self.client += output.data
            elif isinstance(output, ToServer):
                assert output.server not in self.ended | self.forgotten
                self.servers.setdefault(output.server, bytearray()).extend(output.data)
            elif isinstance(output, FinServer):
                self.ended.add(output.server)
            elif isinstance(output, Forget):
                self.forgotten.add(output.server)
            elif isinstance(output, FinClient):
                self.client_fin += 1
            elif isinstance(output, ResetClient):
                self.client_reset += 1

    def full(self) -> bool:
        """Return whether no more of the client's bytes are wanted."""
        return self.splitter.full

    def write(self, data: bytes) -> None:
        """Write as the client."""
        self.do(self.splitter.client_data(data))

    def end(self) -> None:
        """End writing as the client."""
        self.do(self.splitter.client_eof())

    def answer(self, side: Side, data: bytes) -> None:
        """Answer as the latest server of a side."""
        self.do(self.splitter.server_data(self.latest(side), data))

    def close(self, side: Side) -> None:
        """Close as the latest server of a side."""
        self.do(self.splitter.server_eof(self.latest(side)))

    def lose(self, side: Side, reason: str) -> None:
        """Reset as the latest server of a side."""
        self.do(self.splitter.server_lost(self.latest(side), reason))

    def latest(self, side: Side) -> Server:
        """Return the server that was named last."""
        return max((known for known in self.servers if known.side is side), key=lambda known: known.number)

    def got(self, side: Side) -> bytes:
        """Return all that a side got, on whichever connections."""
        return b"".join(bytes(data) for known, data in self.servers.items() if known.side is side)


def cut(data: bytes, sizes: Sequence[int]) -> Iterable[bytes]:
    """Cut bytes into pieces of these sizes, again and again."""
    at, turns = 0, deque(sizes or [len(data) or 1])
    while at < len(data):
        yield data[at : at + turns[0]]
        at += turns[0]
        turns.rotate(-1)


def decider(
    filter: HttpFilter = TAKE, *, limits: Limits | None = None, seen: Callable[..., None] | None = None
) -> Decider:
    """Return a decider for requests with ``X-Take: yes``."""
    return Decider(filter, limits=limits, on_decided=seen)
