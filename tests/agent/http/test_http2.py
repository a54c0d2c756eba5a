"""Splitting HTTP/2: who gets which stream, and what happens when somebody goes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hyperframe.frame import ContinuationFrame, HeadersFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_agent.http import http2
from mirrord_agent.http.filter import BodyFilter, HttpFilter
from mirrord_agent.http.http2 import Http2
from mirrord_agent.http.output import Decider, Limits, Server, Side

from .world import World, cut, decider

LOCAL, ORIGINAL = Side.LOCAL, Side.ORIGINAL
Headers = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """What one side has seen of a stream."""

    headers: Headers = field(default_factory=list)
    early: list[bytes] = field(default_factory=list)
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    ended: bool = False
    reset: int | None = None


class Peer:
    """One end of a connection, and what it has received."""

    def __init__(self, *, client: bool) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=client, header_encoding=None))
        self.h2.initiate_connection()
        self.messages: dict[int, Message] = {}
        self.slow = False

    def receive(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self._event(event)

    def _event(self, event: Event) -> None:
        message = self.messages.setdefault(getattr(event, "stream_id", None) or 0, Message())
        if isinstance(event, RequestReceived | ResponseReceived):
            message.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, InformationalResponseReceived):
            message.early.append(dict(event.headers)[b":status"])
        elif isinstance(event, TrailersReceived):
            message.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, DataReceived):
            message.body += event.data
            if not self.slow:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            message.ended = True
        elif isinstance(event, StreamReset):
            message.reset = int(event.error_code)


class World2(World):
    """A world in which everyone speaks HTTP/2."""

    def __init__(self, shared: Decider | None = None, *, sizes: Sequence[int] = ()) -> None:
        super().__init__(Http2(shared or decider()))
        self.me = Peer(client=True)
        self.peers: dict[Server, Peer] = {}
        self._sizes = sizes
        self._taken = 0
        self._given: dict[Server, int] = {}

    def settle(self) -> None:
        """Pass bytes on until nobody has any."""
        while self._turn():
            continue

    def _turn(self) -> bool:
        moved = False
        for piece in cut(self.me.h2.data_to_send(), self._sizes):
            self.write(piece)
            moved = True
        for name, got in [*self.servers.items()]:
            peer = self.peers.setdefault(name, Peer(client=False))
            new = bytes(got[self._given.get(name, 0) :])
            self._given[name] = len(got)
            if new:
                peer.receive(new)
            if name in self.forgotten:
                continue
            for piece in cut(peer.h2.data_to_send(), self._sizes):
                self.do(self.splitter.server_data(name, piece))
                moved = True
        new = bytes(self.client[self._taken :])
        self._taken = len(self.client)
        if new:
            self.me.receive(new)
        return moved or bool(new)

    def ask(self, headers: Headers, *, body: bytes | None = None, trailers: Headers | None = None) -> int:
        """Ask, wholly; return the stream."""
        stream = self.me.h2.get_next_available_stream_id()
        self.me.h2.send_headers(stream, headers, end_stream=body is None and trailers is None)
        if body is not None:
            self.me.h2.send_data(stream, body, end_stream=trailers is None)
        if trailers is not None:
            self.me.h2.send_headers(stream, trailers, end_stream=True)
        return stream

    def peer(self, side: Side) -> Peer:
        """Return the latest server of a side."""
        return self.peers[self.latest(side)]

    def requests(self, side: Side) -> Iterable[tuple[Peer, int, Message]]:
        """Give all requests that a side has seen."""
        for name, peer in self.peers.items():
            if name.side is side:
                for stream, message in peer.messages.items():
                    if stream:
                        yield peer, stream, message


def _head(path: bytes, *, taken: bool, method: bytes = b"GET", more: Headers | None = None) -> Headers:
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"web"), (b":path", path)]
    return [*pseudo, *([(b"x-take", b"yes")] if taken else []), *(more or [])]


_OK: Headers = [(b":status", b"200"), (b"x-said", b"ok")]


@dataclass
class Case:
    """One request and its answer."""

    taken: bool
    body: bytes | None
    trailers: Headers | None
    answer: bytes
    answer_trailers: Headers | None
    early: bool


_CASES = st.builds(
    Case,
    st.booleans(),
    st.none() | st.binary(max_size=60),
    st.none() | st.just([(b"t", b"1")]),
    st.binary(max_size=60),
    st.none() | st.just([(b"grpc-status", b"0")]),
    st.booleans(),
)
SIZES = st.lists(st.integers(1, 80), max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.lists(_CASES, max_size=6), SIZES)
def test_however_it_is_cut_each_stream_gets_its_own_answer(cases: list[Case], sizes: list[int]) -> None:
    world = World2(sizes=sizes)
    streams = []
    for at, case in enumerate(cases):
        head = _head(b"/%d" % at, taken=case.taken, method=b"POST")
        streams.append(world.ask(head, body=case.body, trailers=case.trailers))
    world.settle()
    seen = {LOCAL: [*world.requests(LOCAL)], ORIGINAL: [*world.requests(ORIGINAL)]}
    for side, requests in seen.items():
        assert len(requests) == sum(case.taken == (side is LOCAL) for case in cases)
        for peer, stream, message in reversed(requests):
            at = int(dict(message.headers)[b":path"][1:])
            _check_request(cases[at], at, message)
            _answer(cases[at], peer, stream, b"%d by %s" % (at, side.value.encode()))
    world.settle()
    for at, (case, stream) in enumerate(zip(cases, streams, strict=True)):
        answer = world.me.messages[stream]
        by = b"local" if case.taken else b"original"
        assert answer.headers == [*_OK, (b"x-from", b"%d by %s" % (at, by))]
        assert (answer.body, answer.trailers) == (case.answer, case.answer_trailers or [])
        assert answer.early == [b"103"] * case.early
        assert (answer.ended, answer.reset) == (True, None)
    assert (world.client_fin, world.client_reset) == (0, 0)


def _check_request(case: Case, at: int, message: Message) -> None:
    assert message.headers == _head(b"/%d" % at, taken=case.taken, method=b"POST")
    assert (message.body, message.trailers) == (case.body or b"", case.trailers or [])
    assert message.ended


def _answer(case: Case, peer: Peer, stream: int, source: bytes) -> None:
    if case.early:
        peer.h2.send_headers(stream, [(b":status", b"103")])
    peer.h2.send_headers(stream, [*_OK, (b"x-from", source)])
    peer.h2.send_data(stream, case.answer, end_stream=case.answer_trailers is None)
    if case.answer_trailers:
        peer.h2.send_headers(stream, case.answer_trailers, end_stream=True)


def test_bodies_are_streamed_and_a_stalled_stream_holds_no_other() -> None:
    world = World2()
    me = world.me.h2
    taken = me.get_next_available_stream_id()
    me.send_headers(taken, _head(b"/t", taken=True, method=b"POST"))
    world.settle()
    local = world.peer(LOCAL)
    local.slow = True
    sent = 0
    for _ in range(50):
        room = min(me.local_flow_control_window(taken), me.max_outbound_frame_size)
        if room:
            me.send_data(taken, b"x" * room)
            sent += room
        world.settle()
    # what the server has a window for; what we have one for
    assert len(local.messages[taken].body) == 65_535
    assert sent == 256 * 1024
    world.ask(_head(b"/o", taken=False, method=b"POST"), body=b"y" * 16_000)
    world.settle()
    assert [message.body for _, _, message in world.requests(ORIGINAL)] == [b"y" * 16_000]


def test_large_answers_reach_a_client_with_small_windows() -> None:
    world = World2()
    stream = world.ask(_head(b"/", taken=True))
    world.settle()
    local = world.peer(LOCAL)
    local.h2.send_headers(1, _OK)
    left = 1_000_000
    while left:
        room = min(local.h2.local_flow_control_window(1), local.h2.max_outbound_frame_size, left)
        assert room
        left -= room
        local.h2.send_data(1, b"z" * room, end_stream=not left)
        world.settle()
    assert len(world.me.messages[stream].body) == 1_000_000
    assert world.me.messages[stream].ended


def test_an_answer_of_trailers_only_is_one_frame_with_the_end() -> None:
    world = World2()
    stream = world.ask(_head(b"/", taken=True))
    world.settle()
    before = len(world.client)
    world.peer(LOCAL).h2.send_headers(1, [*_OK, (b"grpc-status", b"12")], end_stream=True)
    world.settle()
    assert world.me.messages[stream].ended
    assert world.client[before + 3 : before + 5] == bytes((1, 0x05))


def test_resets_go_both_ways() -> None:
    world = World2()
    one, two = world.ask(_head(b"/", taken=True)), world.ask(_head(b"/", taken=False))
    world.settle()
    world.me.h2.reset_stream(one, ErrorCodes.CANCEL)
    world.peer(ORIGINAL).h2.reset_stream(1, ErrorCodes.ENHANCE_YOUR_CALM)
    world.settle()
    assert world.peer(LOCAL).messages[1].reset == ErrorCodes.CANCEL
    assert world.me.messages[two].reset == ErrorCodes.ENHANCE_YOUR_CALM


def test_an_answer_before_the_end_of_the_request_and_no_more_wanted() -> None:
    world = World2()
    stream = world.me.h2.get_next_available_stream_id()
    world.me.h2.send_headers(stream, _head(b"/", taken=True, method=b"POST"))
    world.settle()
    local = world.peer(LOCAL)
    local.h2.send_headers(1, [(b":status", b"413")])
    local.h2.send_data(1, b"too large", end_stream=True)
    local.h2.reset_stream(1, ErrorCodes.NO_ERROR)
    world.settle()
    answer = world.me.messages[stream]
    assert (answer.body, answer.ended, answer.reset) == (b"too large", True, 0)


def test_the_local_program_going_is_a_bad_gateway_and_later_streams_are_the_originals() -> None:
    shared = decider()
    world = World2(shared)
    begun, waiting, head = (
        world.ask(_head(b"/", taken=True)),
        world.ask(_head(b"/", taken=True)),
        world.ask(_head(b"/", taken=True, method=b"HEAD")),
    )
    other = world.ask(_head(b"/o", taken=False))
    world.settle()
    world.peer(LOCAL).h2.send_headers(1, _OK)
    world.settle()
    shared.wanted = False
    world.lose(LOCAL, "the local program has ended")
    world.settle()
    assert world.me.messages[begun].reset == ErrorCodes.INTERNAL_ERROR
    assert dict(world.me.messages[waiting].headers)[b":status"] == b"502"
    assert world.me.messages[waiting].body == b"mirrord: the local program has ended\n"
    assert world.me.messages[head].ended
    later = world.ask(_head(b"/later", taken=True))
    world.settle()
    for stream in (1, 3):
        world.peer(ORIGINAL).h2.send_headers(stream, _OK, end_stream=True)
    world.settle()
    assert world.me.messages[other].ended
    assert world.me.messages[later].ended


def test_the_original_going_resets_its_streams_only() -> None:
    world = World2()
    one, two = world.ask(_head(b"/", taken=True)), world.ask(_head(b"/", taken=False))
    world.settle()
    world.close(ORIGINAL)
    world.settle()
    assert world.me.messages[two].reset == ErrorCodes.INTERNAL_ERROR
    world.peer(LOCAL).h2.send_headers(1, _OK, end_stream=True)
    world.settle()
    assert world.me.messages[one].ended


def test_after_goaway_streams_go_on_and_new_ones_get_a_new_connection() -> None:
    world = World2()
    first, second = world.ask(_head(b"/1", taken=True)), world.ask(_head(b"/2", taken=True))
    world.settle()
    old = world.peer(LOCAL)
    frame = b"\0\0\x08\x07\0\0\0\0\0" + (1).to_bytes(4, "big") + bytes(4)
    world.do(world.splitter.server_data(world.latest(LOCAL), frame))
    world.settle()
    assert world.me.messages[second].reset == ErrorCodes.REFUSED_STREAM
    third = world.ask(_head(b"/3", taken=True))
    world.settle()
    assert world.peer(LOCAL) is not old
    old.h2.send_headers(1, _OK, end_stream=True)
    world.peer(LOCAL).h2.send_headers(1, _OK, end_stream=True)
    world.settle()
    assert world.me.messages[first].ended
    assert world.me.messages[third].ended


def test_a_server_that_takes_few_streams_gets_more_connections() -> None:
    world = World2()
    world.ask(_head(b"/", taken=True))
    world.settle()
    world.peer(LOCAL).h2.update_settings({3: 1})
    world.settle()
    world.ask(_head(b"/", taken=True))
    world.settle()
    assert len([name for name in world.servers if name.side is LOCAL]) == 2


BODY = HttpFilter(body_filter=BodyFilter(body="json", query="$.user", matches="^me$"))


@settings(deadline=None, max_examples=30)
@given(SIZES)
def test_a_body_decides_when_it_is_there(sizes: list[int]) -> None:
    world = World2(decider(BODY), sizes=sizes)
    world.ask(_head(b"/1", taken=False, method=b"POST"), body=b'{"user": "me"}')
    world.ask(_head(b"/2", taken=False, method=b"POST"), body=b'{"user": "you"}', trailers=[(b"t", b"1")])
    world.ask(_head(b"/3", taken=False))
    world.settle()
    assert [message.body for _, _, message in world.requests(LOCAL)] == [b'{"user": "me"}']
    assert [message.body for _, _, message in world.requests(ORIGINAL)] == [b'{"user": "you"}', b""]
    assert not world.splitter.undecided


def test_a_body_that_is_too_large_or_too_slow_does_not_match() -> None:
    world = World2(decider(BODY, limits=Limits(body=20)))
    world.ask(_head(b"/1", taken=False, method=b"POST"), body=b'{"user": "me", "and": "more"}')
    stream = world.me.h2.get_next_available_stream_id()
    world.me.h2.send_headers(stream, _head(b"/2", taken=False, method=b"POST"))
    world.settle()
    assert world.splitter.undecided
    world.do(world.splitter.give_up())
    world.settle()
    assert len([*world.requests(ORIGINAL)]) == 2
    assert [*world.requests(LOCAL)] == []


def test_a_filter_that_wants_the_body_asks_for_it_in_the_servers_place() -> None:
    world = World2(decider(BODY))
    stream = world.me.h2.get_next_available_stream_id()
    world.me.h2.send_headers(
        stream, _head(b"/", taken=False, method=b"POST", more=[(b"expect", b"100-continue")])
    )
    world.settle()
    assert world.me.messages[stream].early == [b"100"]
    world.me.h2.send_data(stream, b'{"user": "me"}', end_stream=True)
    world.settle()
    world.peer(LOCAL).h2.send_headers(1, [(b":status", b"100")])
    world.peer(LOCAL).h2.send_headers(1, _OK, end_stream=True)
    world.settle()
    assert world.me.messages[stream].early == [b"100"]
    assert world.me.messages[stream].ended


def _flood() -> bytes:
    frames = [HeadersFrame(1, b"\x00\x01a\x01b")] + [ContinuationFrame(1, b"\x00\x01a\x01b")] * 10_000
    return b"".join(frame.serialize() for frame in frames)


def _bomb() -> bytes:
    # one header of 4,000 bytes in the table, named 4,000 times by one byte each
    block = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 4000
    frame = HeadersFrame(1, block)
    frame.flags.add("END_HEADERS")
    return frame.serialize()


@pytest.mark.parametrize("attack", [_flood, _bomb], ids=["continuation", "headers"])
def test_attacks_end_the_connection_and_reach_nobody(attack: object) -> None:
    world = World2()
    world.settle()
    for piece in cut(attack(), [16_000]):  # type: ignore[operator]
        world.write(piece)
    assert world.client_fin == 1
    assert world.servers == {}


def test_what_has_ended_is_forgotten() -> None:
    world = World2()
    for number in range(300):
        world.ask(_head(b"/", taken=bool(number % 2)))
        world.settle()
        for side in Side:
            for peer, stream, message in world.requests(side):
                if message.ended:
                    message.ended = False
                    peer.h2.send_headers(stream, _OK, end_stream=True)
        world.settle()
    splitter = world.splitter
    assert isinstance(splitter, Http2)
    assert not splitter._exchanges
    assert [len(server.exchanges) for server in splitter._servers.values()] == [0, 0]


def test_streams_opened_and_reset_at_once_are_forgotten() -> None:
    world = World2()
    for _ in range(1000):
        stream = world.ask(_head(b"/", taken=True))
        world.me.h2.reset_stream(stream)
    world.settle()
    splitter = world.splitter
    assert isinstance(splitter, Http2)
    assert not splitter._exchanges
    assert [message.reset for _, _, message in world.requests(LOCAL)] == [0] * 1000


def test_what_breaks_the_protocol_ends_with_goaway_after_what_came_before() -> None:
    for sizes in ([1], [10_000]):
        world = World2(sizes=sizes)
        stream = world.ask(_head(b"/", taken=True))
        world.me.h2._data_to_send += b"\0\0\x01\x06\0\0\0\0\0x"
        world.settle()
        assert world.client_fin == 1
        assert stream == 1
        assert len(world.servers) == 1
        assert b"\x07\0\0\0\0\0" in world.client


def test_a_client_that_ends_ends_everything() -> None:
    world = World2()
    world.ask(_head(b"/", taken=True))
    world.settle()
    world.end()
    assert world.client_fin == 1
    assert world.forgotten == set(world.servers)


def test_a_client_may_ask_much_before_it_is_told_how_much_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy does; every other request of its connection would be lost with it."""
    monkeypatch.setattr(http2, "MOST_STREAMS", 120)
    world = World2()
    streams = [world.ask(_head(b"/", taken=bool(at % 2))) for at in range(121)]
    world.settle()
    for side in Side:
        for peer, stream, _ in world.requests(side):
            peer.h2.send_headers(stream, _OK, end_stream=True)
    world.settle()
    assert all(world.me.messages[stream].headers == _OK for stream in streams[:-1])
    assert world.me.messages[streams[-1]].reset == ErrorCodes.REFUSED_STREAM
    assert world.me.h2.remote_settings.max_concurrent_streams == 100
    assert not world.client_fin


def test_a_target_that_is_no_url_is_for_the_original_to_refuse() -> None:
    world = World2()
    world.ask(_head(b"http://[/", taken=False))
    world.settle()
    assert [dict(message.headers)[b":path"] for _, _, message in world.requests(ORIGINAL)] == [b"http://[/"]
