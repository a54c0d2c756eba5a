import asyncio
import os
import random
from typing import Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_agent.wire import carrier as module
from mirrord_agent.wire.carrier import Carrier
from mirrord_agent.wire.errors import WireError
from mirrord_agent.wire.frames import ACK
from mirrord_agent.wire.websocket import WebSocket

from ..running import on_loop

SOAK: Final = os.environ.get("MIRRORD_SOAK") == "1"


class Wire(asyncio.Transport):
    """A transport that holds what is written to it until the test lets it arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: Final = bytearray()
        self.closing = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return len(self.under_way)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.under_way.extend(data)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True


class Connection:
    """One websocket, of which bytes arrive as the test says."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ends: Final = (WebSocket(loop, client=True), WebSocket(loop, client=False))
        self.wires: Final = (Wire(), Wire())
        for end, wire in zip(self.ends, self.wires, strict=True):
            end.connection_made(wire)
            end.prove()
        self.deliver(0)
        self.deliver(1)

    def deliver(self, sender: int, size: int | None = None) -> None:
        """Let bytes arrive that one end has written."""
        under_way = self.wires[sender].under_way
        piece = bytes(under_way[:size])
        del under_way[: len(piece)]
        receiver = self.ends[1 - sender]
        while piece and receiver.reason is None:
            room = receiver.get_buffer(-1)
            taken = min(len(room), len(piece))
            room[:taken] = piece[:taken]
            receiver.buffer_updated(taken)
            piece = piece[taken:]

    def cut(self, *, noticed: tuple[bool, bool]) -> None:
        """Lose what is under way; an end may not notice."""
        for wire in self.wires:
            wire.under_way.clear()
            wire.closing = True
        for end, notices in zip(self.ends, noticed, strict=True):
            if notices:
                end.connection_lost(ConnectionResetError())


class Link:
    """Two carriers and the connection that joins them now."""

    def __init__(self) -> None:
        self.connection: Connection = Connection()
        self.drops: Final[list[str]] = []
        self.carriers: Final = tuple(
            Carrier(end, on_dropped=self.drops.append) for end in self.connection.ends
        )
        self.sent: Final[tuple[list[bytes], list[bytes]]] = ([], [])
        self.came: Final[tuple[list[bytes], list[bytes]]] = ([], [])
        for carrier, came in zip(self.carriers, self.came, strict=True):
            carrier.start(lambda message, came=came: came.append(bytes(message)))  # type: ignore[misc]

    def send(self, side: int, message: bytes) -> None:
        self.sent[side].append(message)
        self.carriers[side].send(message)

    async def deliver(self, sender: int, size: int | None = None) -> None:
        await asyncio.sleep(0)  # what was sent in this turn leaves
        self.connection.deliver(sender, size)

    def cut(self, *, noticed: tuple[bool, bool] = (True, True)) -> None:
        self.connection.cut(noticed=noticed)
        client, agent = self.carriers
        self.connection = Connection()
        ours, theirs = self.connection.ends
        told = client.received
        answer = agent.received
        agent.resume(theirs, received=told)
        client.resume(ours, received=answer)

    async def settle(self) -> None:
        """Let everything arrive."""
        for _ in range(4):
            for side in (0, 1):
                await self.deliver(side)

    def check(self) -> None:
        for side in (0, 1):
            assert self.came[1 - side] == self.sent[side]
            assert self.carriers[side].reason is None


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledge after few bytes, and pause after not many more."""
    monkeypatch.setattr(module, "RECEIPT", 500)
    monkeypatch.setattr(module, "MOST_KEPT", 3_000)


sides = st.integers(0, 1)
sends = st.tuples(st.just("send"), sides, st.integers(1, 400))
deliveries = st.tuples(st.just("deliver"), sides, st.integers(1, 900))
cuts = st.tuples(st.just("cut"), st.booleans(), st.booleans())
steps = st.lists(st.one_of(sends, sends, deliveries, deliveries, cuts), max_size=60)


@pytest.mark.usefixtures("small")
@settings(deadline=None, max_examples=2_000 if SOAK else 100)
@given(steps, st.integers(0, 2**32))
def test_every_message_arrives_once_and_in_order_whatever_is_cut(
    steps: list[tuple[str, int, int]], seed: int
) -> None:
    @on_loop
    async def check() -> None:
        link, chance = Link(), random.Random(seed)
        for kind, one, two in steps:
            if kind == "send":
                link.send(one, b"\5" + chance.randbytes(two))
            elif kind == "deliver":
                await link.deliver(one, two)
            else:
                link.cut(noticed=(True, bool(two)))
        await link.settle()
        link.check()

    check()


@pytest.mark.usefixtures("small")
@on_loop
async def test_what_has_arrived_is_not_kept() -> None:
    link = Link()
    for _ in range(200):
        link.send(0, bytes(100))
        await link.deliver(0)
        await link.deliver(1)
        assert link.carriers[0]._kept_bytes <= 1_000
    link.check()


@pytest.mark.usefixtures("small")
@on_loop
async def test_it_is_busy_until_the_other_side_has_it() -> None:
    link = Link()
    resumed: list[int] = []
    client = link.carriers[0]
    client.on_resumed = lambda: resumed.append(len(link.came[1]))
    while not client.busy:
        link.send(0, bytes(100))
    await link.deliver(0)
    assert (client.busy, resumed) == (True, [])
    await link.deliver(1)
    assert (client.busy, len(resumed) > 0) == (False, True)


@on_loop
async def test_it_is_busy_while_there_is_no_connection() -> None:
    link = Link()
    client = link.carriers[0]
    resumed: list[None] = []
    client.on_resumed = lambda: resumed.append(None)
    link.connection.cut(noticed=(True, True))
    assert (client.busy, client.connected, client.reason) == (True, False, None)
    assert link.drops == ["the other side closed the connection"] * 2
    link.send(0, b"\5kept")
    link.cut()
    await link.settle()
    assert (client.busy, client.connected, len(resumed)) == (False, True, 1)
    link.check()


@on_loop
async def test_a_goodbye_ends_it() -> None:
    link = Link()
    lost: list[str] = []
    link.carriers[1].on_lost = lost.append
    link.carriers[0].close("the session is over")
    await link.settle()
    assert (lost, link.drops) == (["the session is over"], [])
    with pytest.raises(WireError, match="the session has ended: the session is over"):
        link.carriers[1].resume(Connection().ends[1], received=0)


@on_loop
async def test_it_ends_without_a_connection_too() -> None:
    link = Link()
    lost: list[str] = []
    client = link.carriers[0]
    client.on_lost = lost.append
    link.connection.cut(noticed=(True, True))
    client.close("given up")
    client.send(b"\5late")
    assert (lost, client.reason, client._kept_bytes) == (["given up"], "given up", 0)


@on_loop
async def test_too_much_that_nobody_takes_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10_000)
    link = Link()
    link.connection.cut(noticed=(True, True))
    for _ in range(11):
        link.send(0, bytes(1_000))
    assert link.carriers[0].reason == "the other side does not take what is sent to it"


@on_loop
async def test_sides_that_do_not_agree_are_found_out() -> None:
    link = Link()
    link.send(0, b"\5one")
    await link.settle()
    link.connection.cut(noticed=(True, True))
    for count in (2, 10**9):
        with pytest.raises(WireError, match="do not agree"):
            link.carriers[0].check(count)


@pytest.mark.parametrize(
    ("ack", "problem"),
    [
        (ACK, "an ACK of 1 bytes"),
        (ACK + bytes(9), "an ACK of 10 bytes"),
        (ACK + (1).to_bytes(8, "big"), "do not agree on what has arrived"),
    ],
)
def test_a_wrong_ack_ends_it_with_a_sentence(ack: bytes, problem: str) -> None:
    @on_loop
    async def check() -> None:
        link = Link()
        link.connection.ends[1].send(ack)
        await link.settle()
        reason = cast(str, link.carriers[0].reason)
        assert reason.startswith("the other side broke the protocol: ")
        assert problem in reason
        assert link.came[0] == []

    check()


@on_loop
async def test_it_counts_what_goes_over_it_across_connections() -> None:
    link = Link()
    link.send(0, bytes(1_000))
    await link.settle()
    link.cut()
    link.send(0, bytes(500))
    await link.settle()
    assert link.carriers[0].bytes_sent == 1_500
    assert link.carriers[1].bytes_received > 1_500
    link.carriers[0].measure()
    await link.settle()
    assert link.carriers[0].round_trip is not None
