"""Splitting HTTP/1: who gets which bytes, in which order, and what happens when somebody goes."""

from collections.abc import Sequence
from dataclasses import dataclass

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_agent.http.filter import BodyFilter, HttpFilter
from mirrord_agent.http.http1 import Http1
from mirrord_agent.http.output import Limits, Side
from mirrord_agent.http.request import Request

from .world import World, cut, decider

LOCAL, ORIGINAL = Side.LOCAL, Side.ORIGINAL
TAKEN = b"GET /t HTTP/1.1\r\nHost: a\r\nX-Take: yes\r\n\r\n"
OTHER = b"GET /o HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, as bytes."""

    taken: bool
    request: bytes
    reply: bytes


def _chunked(pieces: list[bytes]) -> bytes:
    whole = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return whole + b"0\r\nX-Trailer: t\r\n\r\n"


@st.composite
def _exchanges(draw: st.DrawFn) -> Exchange:
    taken = draw(st.booleans())
    method = draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"PROPFIND"]))
    lines = [b"%s /%d?q=1 HTTP/1.1" % (method, draw(st.integers(0, 999))), b"hOsT:  a"]
    if taken:
        lines.append(b"X-tAkE:\tyes ")
    body = draw(st.binary(max_size=40))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
    content = {"none": b"", "length": body, "chunked": _chunked(pieces)}[framing]
    request = draw(st.sampled_from([b"", b"\r\n"])) + b"\r\n".join([*lines, b"", b""]) + content
    return Exchange(taken, request, draw(_replies(method)))


@st.composite
def _replies(draw: st.DrawFn, method: bytes) -> bytes:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    early = draw(st.sampled_from([b"", hints, b"HTTP/1.1 100 Continue\r\n\r\n"]))
    body = draw(st.binary(max_size=40))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3))
    kind = draw(st.sampled_from(["length", "chunked", "204", "304"]))
    heads = {
        "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body),
        "chunked": b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
        "204": b"HTTP/1.1 204 No Content\r\n\r\n",
        "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    }
    bodies = {"length": body, "chunked": _chunked(pieces)}
    return early + heads[kind] + (b"" if method == b"HEAD" else bodies.get(kind, b""))


class Answering:
    """Servers that answer each complete request with the next of their answers."""

    def __init__(self, world: World, exchanges: Sequence[Exchange], sizes: Sequence[int]) -> None:
        self._world, self._sizes = world, sizes
        self._parsed = dict.fromkeys(Side, 0)
        self._replies: dict[Side, list[bytes]] = {LOCAL: [], ORIGINAL: []}
        for exchange in exchanges:
            self._replies[LOCAL if exchange.taken else ORIGINAL].append(exchange.reply)

    def go_on(self) -> None:
        """Answer until nothing is due."""
        while self._answer(LOCAL) or self._answer(ORIGINAL):
            continue

    def _answer(self, side: Side) -> bool:
        due = _count(self._world.got(side)) - self._parsed[side]
        for _ in range(due):
            reply = self._replies[side][self._parsed[side]]
            self._parsed[side] += 1
            for piece in cut(reply, self._sizes):
                self._world.answer(side, piece)
        return due > 0


def _count(data: bytes) -> int:
    """Return how many complete requests there are."""
    count = 0
    while data:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data.lstrip(b"\r\n"))
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return count
        count += 1
        data = connection.trailing_data[0]
    return count


SIZES = st.lists(st.integers(1, 60), max_size=8)


@settings(deadline=None)
@given(st.lists(_exchanges(), max_size=6), SIZES, SIZES)
def test_however_it_is_cut_everyone_gets_their_own_bytes_in_order(
    exchanges: list[Exchange], sizes: list[int], reply_sizes: list[int]
) -> None:
    decisions: list[Side] = []
    world = World(Http1(decider(seen=lambda _, side: decisions.append(side))))
    servers = Answering(world, exchanges, reply_sizes)
    for piece in cut(b"".join(exchange.request for exchange in exchanges), sizes):
        assert not world.full()
        world.write(piece)
        servers.go_on()
    assert decisions == [LOCAL if exchange.taken else ORIGINAL for exchange in exchanges]
    assert world.got(LOCAL) == b"".join(exchange.request for exchange in exchanges if exchange.taken)
    assert world.got(ORIGINAL) == b"".join(exchange.request for exchange in exchanges if not exchange.taken)
    assert bytes(world.client) == b"".join(exchange.reply for exchange in exchanges)
    assert (world.client_fin, world.client_reset, world.forgotten) == (0, 0, set())
    world.end()
    assert len(world.ended) == (1 if exchanges else 0)


@settings(deadline=None)
@given(st.binary(max_size=300), SIZES)
def test_what_is_not_http_goes_to_the_original_as_it_is(data: bytes, sizes: list[int]) -> None:
    world = World(Http1(decider()))
    junk = b"\x16\x03\x01" + data
    for piece in cut(junk, sizes):
        world.write(piece)
    world.do(world.splitter.give_up())
    world.end()
    assert world.got(ORIGINAL) == junk
    assert world.got(LOCAL) == b""
    world.answer(ORIGINAL, b"\0\1")
    assert world.client == b"\0\1"


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60), SIZES)
def test_a_broken_body_stays_with_its_request(data: bytes, sizes: list[int]) -> None:
    broken = OTHER.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") + data + TAKEN
    world = World(Http1(decider()))
    for piece in cut(broken, sizes):
        world.write(piece)
    assert world.got(ORIGINAL) == broken
    assert world.got(LOCAL) == b""


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60), SIZES)
def test_the_local_program_gets_nothing_behind_a_broken_body(data: bytes, sizes: list[int]) -> None:
    """Nobody can tell where the next request begins, which may not be for it."""
    head = TAKEN.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    world = World(Http1(decider()))
    for piece in cut(head + b"zz\r\n" + data + OTHER, sizes):
        world.write(piece)
    assert world.got(LOCAL).startswith(head)
    assert (head + b"zz\r\n").startswith(world.got(LOCAL))
    assert world.got(ORIGINAL) == b""
    assert world.ended == {world.latest(LOCAL)}
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    world.answer(LOCAL, refusal)
    world.write(OTHER)
    world.close(LOCAL)
    assert world.client == refusal
    assert world.client_fin == 1


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("version", "lengths"),
    [
        (b"1.1", b"Content-Length: 60\r\nTransfer-Encoding: chunked"),
        (b"1.0", b"Connection: keep-alive\r\nTransfer-Encoding: chunked"),
    ],
)
def test_a_request_of_two_lengths_hides_no_other(side: Side, version: bytes, lengths: bytes) -> None:
    asked, hidden = (TAKEN, OTHER) if side is LOCAL else (OTHER, TAKEN)
    head = asked.replace(b"1.1", version).replace(b"\r\n\r\n", b"\r\n" + lengths + b"\r\n\r\n")
    world = World(Http1(decider()))
    world.write(head + b"0\r\n\r\n" + hidden)
    assert len(world.servers) == 1
    assert world.got(side) == (head if side is LOCAL else head + b"0\r\n\r\n" + hidden)
    world.answer(side, OK)
    world.write(hidden)
    assert len(world.servers) == 1


@pytest.mark.parametrize(("first", "second"), [(TAKEN, OTHER), (OTHER, TAKEN)])
def test_each_request_of_a_kept_http10_connection_is_decided(first: bytes, second: bytes) -> None:
    first, second = (
        request.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: Keep-Alive\r\n\r\n")
        for request in (first, second)
    )
    answer = OK.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
    sides = [LOCAL, ORIGINAL] if b"take" in first.lower() else [ORIGINAL, LOCAL]
    world = World(Http1(decider()))
    for side, request in zip(sides, (first, second), strict=True):
        world.write(request)
        assert world.got(side) == request
        world.answer(side, answer)
    assert world.client == answer * 2


def test_what_follows_the_last_request_does_not_reach_the_local_program() -> None:
    world = World(Http1(decider()))
    last = TAKEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    world.write(last + OTHER)
    world.write(OTHER)
    assert (world.got(LOCAL), world.got(ORIGINAL), world.ended) == (last, b"", set())
    world.answer(LOCAL, OK)
    world.close(LOCAL)
    assert world.client == OK
    assert world.client_fin == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nNo Name: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Nobody Asked\r\n\r\n",
        b"junk\r\n\r\n",
    ],
)
@pytest.mark.parametrize("pipelined", [True, False])
def test_behind_an_answer_without_a_known_end_the_local_program_gets_nothing(
    answer: bytes, pipelined: bool
) -> None:
    world = World(Http1(decider()))
    world.write(TAKEN + OTHER * pipelined)
    world.answer(LOCAL, answer)
    assert world.ended == {world.latest(LOCAL)}
    world.write(OTHER)
    world.answer(LOCAL, b"more")
    assert world.client == answer + b"more"
    assert (world.got(LOCAL), world.got(ORIGINAL)) == (TAKEN, b"")
    world.close(LOCAL)
    assert world.client_fin == 1


def test_what_the_local_program_says_unasked_is_nobodys_answer() -> None:
    """As the body that an answer to HEAD has not: it would be taken for the original's next answer."""
    world = World(Http1(decider()))
    world.write(TAKEN.replace(b"GET", b"HEAD"))
    head = OK.removesuffix(b"ok")
    world.answer(LOCAL, OK)
    assert world.client == head
    assert world.forgotten == {world.latest(LOCAL)}
    world.write(OTHER)
    world.answer(ORIGINAL, OK)
    world.write(TAKEN)
    world.answer(LOCAL, OK)
    assert world.client == head + OK * 2
    assert not world.client_fin


def test_a_pipelined_request_waits_for_the_answers_of_the_other_side() -> None:
    world = World(Http1(decider()))
    world.write(TAKEN + TAKEN + OTHER + TAKEN)
    assert world.got(LOCAL) == TAKEN * 2
    assert world.got(ORIGINAL) == b""
    assert world.full()
    world.answer(LOCAL, OK)
    assert world.got(ORIGINAL) == b""
    world.answer(LOCAL, OK)
    assert world.got(ORIGINAL) == OTHER
    assert world.got(LOCAL) == TAKEN * 2
    world.answer(ORIGINAL, OK)
    assert world.got(LOCAL) == TAKEN * 3
    assert not world.full()
    world.answer(LOCAL, OK)
    assert world.client == OK * 4


def test_bodies_are_streamed_both_ways() -> None:
    world = World(Http1(decider()))
    world.write(b"POST / HTTP/1.1\r\nHost: a\r\nX-Take: yes\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(100):
        before = len(world.got(LOCAL))
        world.write(b"x" * 1000)
        assert len(world.got(LOCAL)) == before + 1000
    events = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    world.answer(LOCAL, b"HTTP/1.1 200 OK\r\n" + events)
    for _ in range(10):
        before = len(world.client)
        world.answer(LOCAL, b"8\r\ndata: x\n")
        world.answer(LOCAL, b"\r\n")
        assert len(world.client) == before + 13


def test_the_head_goes_on_at_once_so_that_the_server_can_ask_for_the_body() -> None:
    world = World(Http1(decider()))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nX-Take: yes\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    world.write(head)
    assert world.got(LOCAL) == head
    world.answer(LOCAL, b"HTTP/1.1 100 Continue\r\n\r\n")
    assert world.client == b"HTTP/1.1 100 Continue\r\n\r\n"
    world.write(b"hi")
    world.answer(LOCAL, OK)
    world.write(OTHER)
    assert world.got(ORIGINAL) == OTHER


@pytest.mark.parametrize("side", list(Side))
def test_after_an_upgrade_bytes_only_pass(side: Side) -> None:
    world = World(Http1(decider()))
    request = (TAKEN if side is LOCAL else OTHER).replace(
        b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    world.write(request + b"\x81early")
    assert world.got(side) == request
    reply = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    world.answer(side, reply + b"\x82first")
    assert world.client == reply + b"\x82first"
    world.write(TAKEN + OTHER)
    assert world.got(side) == request + b"\x81early" + TAKEN + OTHER
    world.close(side)
    assert world.client_fin == 1
    world.write(b"still")
    assert world.got(side).endswith(b"still")
    world.end()
    assert world.ended == {world.latest(side)}


@pytest.mark.parametrize("side", list(Side))
def test_nobody_gets_a_connection_for_itself_by_proposing_http2(side: Side) -> None:
    world = World(Http1(decider()))
    request = TAKEN if side is LOCAL else OTHER
    proposal = b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n"
    for piece in cut(request.replace(b"\r\n\r\n", proposal), [7]):
        world.write(piece)
    assert world.got(side) == request
    world.write(TAKEN + OTHER)
    world.answer(side, OK)
    world.answer(LOCAL, OK)
    world.answer(ORIGINAL, OK)
    assert world.client == OK * 3


@pytest.mark.parametrize("sizes", [[7], [1000]])
def test_a_broken_body_behind_a_proposal_of_http2_is_passed_on(sizes: list[int]) -> None:
    """Also where both come in one piece."""
    head = b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    world = World(Http1(decider()))
    for piece in cut(OTHER.replace(b"\r\n\r\n", head) + b"zz\r\n" + TAKEN, sizes):
        world.write(piece)
    without = OTHER.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert world.got(ORIGINAL) == without + b"zz\r\n" + TAKEN
    assert world.got(LOCAL) == b""


def test_after_a_refused_upgrade_requests_are_decided_again() -> None:
    world = World(Http1(decider()))
    world.write(OTHER.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n") + TAKEN)
    assert world.got(LOCAL) == b""
    world.answer(ORIGINAL, OK)
    assert world.got(LOCAL) == TAKEN


def test_connect_is_a_tunnel_once_it_is_accepted() -> None:
    world = World(Http1(decider()))
    request = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
    world.write(request + b"raw")
    world.answer(ORIGINAL, b"HTTP/1.1 200 OK\r\n\r\n" + b"back")
    assert world.got(ORIGINAL) == request + b"raw"
    assert world.client.endswith(b"back")


def test_an_answer_that_ends_with_the_connection_ends_the_clients() -> None:
    for side, request in ((LOCAL, TAKEN), (ORIGINAL, OTHER)):
        world = World(Http1(decider()))
        world.write(request)
        world.answer(side, b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        world.close(side)
        assert world.client.endswith(b"until the end")
        assert world.client_fin == 1


def test_what_a_server_says_before_it_closes_reaches_the_client() -> None:
    world = World(Http1(decider()))
    world.write(OTHER)
    world.answer(ORIGINAL, OK)
    late = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"
    world.answer(ORIGINAL, late)
    world.close(ORIGINAL)
    assert world.client == OK + late
    assert world.client_fin == 1


def test_the_other_sides_idle_connection_may_close_and_is_made_again() -> None:
    world = World(Http1(decider()))
    world.write(OTHER)
    world.answer(ORIGINAL, OK)
    world.write(TAKEN)
    world.close(ORIGINAL)
    assert not world.client_fin
    world.answer(LOCAL, OK)
    world.write(OTHER)
    assert world.got(ORIGINAL) == OTHER * 2
    world.answer(ORIGINAL, OK)
    assert world.client == OK * 3
    assert len(world.servers) == 3


def test_the_local_program_going_is_a_bad_gateway_for_what_it_was_to_answer() -> None:
    for lose in (True, False):
        world = World(Http1(decider()))
        world.write(TAKEN + TAKEN.replace(b"GET", b"HEAD") + OTHER)
        if lose:
            world.lose(LOCAL, "the local program has ended")
        else:
            world.close(LOCAL)
        assert world.client.count(b"HTTP/1.1 502 Bad Gateway") == 2
        assert world.client.count(b"mirrord: the local program ") == 1
        assert not world.client_fin
        # the next one is the original's again
        assert world.got(ORIGINAL) == OTHER
        world.answer(ORIGINAL, OK)
        assert world.client.endswith(OK)


def test_a_client_that_is_still_sending_is_told_to_stop() -> None:
    world = World(Http1(decider()))
    world.write(TAKEN.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\nab"))
    world.lose(LOCAL, "gone")
    assert b"Connection: close" in world.client
    assert world.client_fin == 1
    world.write(b"cdefghi" + OTHER)
    assert world.got(ORIGINAL) == b""


def test_an_answer_that_breaks_off_resets_the_client() -> None:
    world = World(Http1(decider()))
    world.write(TAKEN)
    world.answer(LOCAL, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    world.close(LOCAL)
    assert world.client_reset == 1
    world = World(Http1(decider()))
    world.write(OTHER)
    world.lose(ORIGINAL, "reset")
    assert world.client_reset == 1


def test_half_a_head_is_no_answer() -> None:
    world = World(Http1(decider()))
    world.write(TAKEN)
    world.answer(LOCAL, b"HTTP/1.1 200 OK\r\nConte")
    world.close(LOCAL)
    assert world.client.startswith(b"HTTP/1.1 502")
    world = World(Http1(decider()))
    world.write(OTHER)
    world.answer(ORIGINAL, b"HTTP/1.1 200 OK\r\nConte")
    world.close(ORIGINAL)
    assert world.client == b"HTTP/1.1 200 OK\r\nConte"
    assert world.client_fin == 1


def test_an_idle_local_program_may_go() -> None:
    world = World(Http1(decider()))
    world.write(TAKEN)
    world.answer(LOCAL, OK)
    world.close(LOCAL)
    assert not world.client_fin
    world.write(TAKEN)
    assert len(world.servers) == 2


@pytest.mark.parametrize("lose", [True, False])
def test_a_client_that_has_ended_is_done_when_the_local_program_is(lose: bool) -> None:
    """Nothing is left of the connection at the agent."""
    world = World(Http1(decider()))
    world.write(TAKEN)
    world.answer(LOCAL, OK)
    world.end()
    assert world.ended == {world.latest(LOCAL)}
    if lose:
        world.lose(LOCAL, "gone")
    else:
        world.close(LOCAL)
    assert world.client == OK
    assert world.client_fin == 1


def test_a_client_ends_while_its_request_is_asked_again() -> None:
    world = World(Http1(decider()))
    world.write(TAKEN)
    world.answer(LOCAL, OK)
    world.write(TAKEN)
    world.end()
    old = world.latest(LOCAL)
    world.close(LOCAL)
    assert world.latest(LOCAL) != old
    assert world.ended == {old, world.latest(LOCAL)}
    world.answer(LOCAL, OK)
    world.close(LOCAL)
    assert world.client == OK * 2
    assert world.client_fin == 1


def test_a_request_that_meets_the_close_of_an_idle_connection_is_asked_again() -> None:
    for lose in (True, False):
        world = World(Http1(decider()))
        put = TAKEN.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\nab")
        world.write(TAKEN)
        world.answer(LOCAL, OK)
        world.write(put)
        if lose:
            world.lose(LOCAL, "reset")
        else:
            world.close(LOCAL)
        assert bytes(world.servers[world.latest(LOCAL)]) == put
        world.write(b"cd" + OTHER)
        world.answer(LOCAL, OK)
        assert world.got(LOCAL) == TAKEN + put + put + b"cd"
        assert world.got(ORIGINAL) == OTHER
        assert world.client == OK * 2


def test_a_request_is_asked_again_only_once_and_only_where_that_is_harmless() -> None:
    world = World(Http1(decider()))
    world.write(TAKEN)
    world.answer(LOCAL, OK)
    world.write(TAKEN)
    world.close(LOCAL)
    world.close(LOCAL)
    assert world.client.startswith(OK + b"HTTP/1.1 502")
    large = TAKEN[:-2] + b"X: " + b"x" * 60_000 + b"\r\n\r\n"
    for request in (TAKEN.replace(b"GET", b"POST"), TAKEN * 2, large + TAKEN):
        world = World(Http1(decider()))
        world.write(TAKEN)
        world.answer(LOCAL, OK)
        world.write(request)
        world.close(LOCAL)
        assert b"HTTP/1.1 502" in world.client
        assert len(world.servers) == 1


def test_when_nobody_wants_requests_any_more_all_go_to_the_original() -> None:
    shared = decider()
    world = World(Http1(shared))
    world.write(TAKEN)
    world.answer(LOCAL, OK)
    shared.wanted = False
    world.write(TAKEN)
    assert world.got(ORIGINAL) == TAKEN


def test_a_head_that_does_not_come_goes_to_the_original() -> None:
    world = World(Http1(decider()))
    world.write(TAKEN[:-2])
    assert world.splitter.undecided
    assert world.servers == {}
    world.do(world.splitter.give_up())
    assert world.got(ORIGINAL) == TAKEN[:-2]
    world.write(b"\r\n" + TAKEN)
    assert world.got(ORIGINAL) == TAKEN * 2
    assert not world.splitter.undecided


@settings(deadline=None)
@given(SIZES, st.integers(-2, 2))
def test_a_head_beyond_the_limit_is_not_kept(sizes: list[int], more: int) -> None:
    limits = Limits(head=300)
    request = TAKEN[:-2] + b"X-Pad: "
    request += b"x" * (300 + more - len(request) - 4) + b"\r\n\r\n"
    world = World(Http1(decider(limits=limits)))
    for piece in cut(request, sizes):
        world.write(piece)
    assert len(request) == 300 + more
    assert world.got(ORIGINAL if more > 0 else LOCAL) == request


BODY = HttpFilter(body_filter=BodyFilter(body="json", query="$.user", matches="^me$"))


def _post(body: bytes, extra: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (extra, len(body), body)


@settings(deadline=None)
@given(SIZES)
def test_a_body_decides_when_it_is_there(sizes: list[int]) -> None:
    world = World(Http1(decider(BODY)))
    bodies = {b'{"user": "me"}': LOCAL, b'{"user": "you"}': ORIGINAL, b"no": ORIGINAL}
    for body, side in bodies.items():
        request = _post(body)
        before = {known: len(world.got(known)) for known in Side}
        for piece in cut(request[:-1], sizes):
            world.write(piece)
        assert {known: len(world.got(known)) for known in Side} == before
        world.write(request[-1:])
        assert world.got(side).endswith(request)
        world.answer(side, OK)


def test_a_body_that_is_too_large_or_too_slow_does_not_match() -> None:
    world = World(Http1(decider(BODY, limits=Limits(body=20))))
    large = _post(b'{"user": "me", "and": "more"}')
    world.write(large)
    assert world.got(ORIGINAL) == large
    world.answer(ORIGINAL, OK)
    slow = _post(b'{"user": "me"}')
    world.write(slow[:-1])
    assert world.splitter.undecided
    world.do(world.splitter.give_up())
    assert world.got(ORIGINAL) == large + slow[:-1]
    world.write(slow[-1:] + slow)
    world.answer(ORIGINAL, OK)
    # it was a request all the same, so the next one is decided again
    assert world.got(LOCAL) == slow


def test_a_filter_that_wants_the_body_asks_for_it_in_the_servers_place() -> None:
    world = World(Http1(decider(BODY)))
    request = _post(b'{"user": "me"}', b"Expect: 100-continue\r\n")
    head, body = request[:-14], request[-14:]
    world.write(head)
    assert world.client == b"HTTP/1.1 100 Continue\r\n\r\n"
    world.write(body)
    assert world.got(LOCAL) == request
    for piece in cut(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK, [7]):
        world.answer(LOCAL, piece)
    assert world.client == b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK


def test_what_filters_see() -> None:
    seen: list[Request] = []
    world = World(Http1(decider(seen=lambda request, _: seen.append(request))))
    world.write(b"GET http://a/p?q HTTP/1.1\r\nHost: a\r\nX-A: b\r\nX-B: \xe4\r\n\r\n")
    assert seen == [Request("GET", "/p?q", ("Host: a", "X-A: b"), b"")]
    assert seen[0].path == "/p"
