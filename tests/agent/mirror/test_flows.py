import errno
import itertools
import random
from dataclasses import dataclass, field

import pytest
from mirrord_agent.mirror import flows as module
from mirrord_agent.mirror.flows import Flows
from mirrord_agent.mirror.packets import ACK, FIN, RST, SYN, End

from .making import CLIENT, CLIENT6, SERVER, SERVER6, segment

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Recorded:
    """A copy that remembers what it was given."""

    client: End
    local: End
    received: bytes = b""
    ends: list[str] = field(default_factory=list)
    answer: int = 0

    def data(self, data: bytes) -> int:
        self.received += data
        return self.answer

    def fin(self) -> None:
        self.ends.append("fin")

    def reset(self, errno: int) -> None:
        self.ends.append(f"reset {errno}")


class Wire:
    """Follows what passes between clients and a server."""

    def __init__(self) -> None:
        self.copies: list[Recorded] = []
        self.flows = Flows(self._begin)
        self.flows.add(8080)

    def _begin(self, client: End, local: End) -> Recorded:
        self.copies.append(Recorded(client, local))
        return self.copies[-1]

    def client(self, sequence: int, data: bytes = b"", flags: int = ACK, *, port: int = 40_000) -> None:
        self.flows.take(segment(sequence, data, flags, source=End(CLIENT.host, port)))

    def server(self, acknowledged: int, flags: int = ACK, *, port: int = 40_000) -> None:
        self.flows.take(
            segment(
                1,
                b"",
                flags,
                acknowledged=acknowledged,
                source=SERVER,
                destination=End(CLIENT.host, port),
            )
        )

    def open(self, first: int = 1000, *, port: int = 40_000) -> Recorded:
        self.client(first - 1, flags=SYN, port=port)
        self.server(first, SYN | ACK, port=port)
        self.client(first, port=port)
        return self.copies[-1]


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_a_connection_is_copied_from_its_first_byte(wire: Wire) -> None:
    copy = wire.open()
    assert (copy.client, copy.local) == (CLIENT, SERVER)
    wire.client(1000, b"hello ")
    wire.server(1006)
    wire.client(1006, b"world", ACK | FIN)
    assert copy.received == b"hello world"
    assert copy.ends == ["fin"]
    assert len(wire.flows) == 0
    assert wire.flows.counts == {"connections": 1, "bytes": 11, "finished": 1}


def test_of_ipv6_too(wire: Wire) -> None:
    for made in (segment(9, flags=SYN), segment(10), segment(10, b"x")):
        wire.flows.take(made._replace(source=CLIENT6, destination=SERVER6))
    assert [(copy.client, copy.received) for copy in wire.copies] == [(CLIENT6, b"x")]


def test_a_refused_connection_is_none(wire: Wire) -> None:
    wire.client(1, flags=SYN)
    wire.server(2, RST | ACK)
    wire.client(2, b"late")
    assert not wire.copies


def test_what_came_with_the_syn(wire: Wire) -> None:
    wire.client(99, b"early", SYN)
    wire.server(105, SYN | ACK)
    wire.client(105, b" bird")
    assert wire.copies[0].received == b"early bird"
    assert not wire.copies[0].ends


def test_a_syn_sent_twice_is_one_connection(wire: Wire) -> None:
    wire.client(999, flags=SYN)
    copy = wire.open()
    wire.client(999, flags=SYN)
    wire.client(1000, b"x")
    assert wire.copies == [copy]
    assert copy.received == b"x"


def test_a_new_connection_of_the_same_ends_takes_the_place_of_the_old(wire: Wire) -> None:
    old = wire.open(1000)
    wire.client(1000, b"old")
    new = wire.open(50_000)
    wire.client(50_000, b"new")
    assert (old.received, old.ends) == (b"old", [f"reset {errno.ECONNRESET}"])
    assert (new.received, new.ends) == (b"new", [])


def test_one_from_before_is_joined_at_its_next_request(wire: Wire) -> None:
    wire.client(5000, b"the rest of a body")
    wire.server(5018)
    assert not wire.copies
    wire.client(5018, REQUEST)
    wire.client(5018 + len(REQUEST), REQUEST)
    assert [copy.received for copy in wire.copies] == [REQUEST * 2]
    assert wire.flows.counts["joined"] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1",
        b"GET  / HTTP/1.1\r\n",
        b"*3\r\n",
    ],
)
def test_what_is_no_request_is_not_joined(wire: Wire, data: bytes) -> None:
    wire.client(5000, data)
    assert not wire.copies


def test_a_hole_that_was_acknowledged_ends_the_copy_until_the_next_request(wire: Wire) -> None:
    copy = wire.open()
    wire.client(1000, b"abc")
    wire.client(1006, b"ghi")
    wire.server(1003)
    assert not copy.ends
    wire.server(1009)
    assert (copy.received, copy.ends) == (b"abc", [f"reset {errno.ENODATA}"])
    wire.client(1009, REQUEST)
    assert [copy.received for copy in wire.copies] == [b"abc", REQUEST]
    assert wire.flows.counts["holes"] == 1


def test_a_reset_of_the_client_is_one(wire: Wire) -> None:
    copy = wire.open()
    wire.client(1000, flags=RST)
    assert copy.ends == [f"reset {errno.ECONNRESET}"]


def test_a_reset_of_the_target_is_the_end_of_the_clients_bytes(wire: Wire) -> None:
    copy = wire.open()
    wire.client(1000, b"x")
    wire.server(0, RST)
    assert (copy.received, copy.ends) == (b"x", ["fin"])


def test_a_request_repeated_after_the_end_is_no_new_one(wire: Wire) -> None:
    wire.open()
    wire.client(1000, REQUEST, ACK | FIN)
    wire.client(1000, REQUEST, ACK | FIN)
    assert len(wire.copies) == 1


def test_a_removed_port_takes_no_more_and_keeps_what_it_has(wire: Wire) -> None:
    copy = wire.open(port=1)
    wire.client(999, flags=SYN, port=2)
    wire.flows.remove(8080)
    assert not wire.flows.forget_idle()
    wire.client(1000, port=2)
    wire.client(1000, b"x", port=1)
    wire.client(7, REQUEST, port=3)
    wire.client(999, flags=SYN, port=4)
    wire.client(1000, port=4)
    assert copy.received == b"x"
    assert len(wire.copies) == 1
    wire.client(1001, flags=ACK | FIN, port=1)
    assert wire.flows.forget_idle()
    assert not wire.flows.ports


@pytest.mark.parametrize(("number", "how"), [(errno.ENOBUFS, "too slow"), (errno.ECANCELED, "abandoned")])
def test_a_copy_that_takes_no_more_is_ended(wire: Wire, number: int, how: str) -> None:
    copy = wire.open()
    copy.answer = number
    wire.client(1000, b"x")
    wire.client(1001, REQUEST)
    assert copy.ends == [f"reset {number}"]
    assert wire.flows.counts[how] == 1
    assert len(wire.copies) == 1


def test_memory_is_bounded(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 10_000)
    copy = wire.open(port=1)
    for at in range(2000, 200_000, 2000):
        wire.client(at, b"y" * 1000, port=1)
    assert copy.ends == [f"reset {errno.ENODATA}"]

    monkeypatch.setattr(module, "MOST_HALF_OPEN", 3)
    for port in range(10, 20):
        wire.client(1, flags=SYN, port=port)
    before = len(wire.copies)
    for port in range(10, 20):
        wire.client(2, port=port)
    assert len(wire.copies) - before == 3


def test_the_copy_that_was_idle_longest_makes_room(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FLOWS", 2)
    first, second = wire.open(port=1), wire.open(port=2)
    wire.client(1000, b"x", port=1)
    third = wire.open(port=3)
    assert [first.ends, second.ends, third.ends] == [[], [f"reset {errno.ETIMEDOUT}"], []]
    wire.client(1000, REQUEST, port=2)
    assert first.ends == [f"reset {errno.ETIMEDOUT}"]
    assert wire.copies[-1].received == REQUEST
    assert wire.flows.counts["idle"] == 2


def test_connections_do_not_mix() -> None:
    """A hundred at once, each cut, shuffled within a window and doubled in places."""
    choice = random.Random(11)
    wire = Wire()
    sent = {port: choice.randbytes(choice.randrange(1, 20_000)) for port in range(1, 101)}
    first = {port: choice.randrange(2**32) for port in sent}
    copies = {port: wire.open(first[port], port=port) for port in sent}
    waiting = []
    for port, data in sent.items():
        cuts = sorted({0, len(data), *(choice.randrange(len(data)) for _ in range(30))})
        pieces = list(itertools.pairwise(cuts))
        for start, end in [*pieces, *choice.choices(pieces, k=5)]:
            waiting.append((start + choice.randrange(3000), port, start, end))
    for _, port, start, end in sorted(waiting):
        flags = ACK | FIN if end == len(sent[port]) else ACK
        wire.client(first[port] + start, sent[port][start:end], flags, port=port)
        wire.server(first[port], port=port)
    assert {port: copy.received for port, copy in copies.items()} == sent
    assert all(copy.ends == ["fin"] for copy in copies.values())
