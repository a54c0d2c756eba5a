"""Finding where HTTP/1 messages end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.http.message import NotHttp, ReplyParser, RequestParser
from mirrord_agent.http.output import Limits

from .world import cut

LIMITS = Limits(head=1000, body=10)
SIZES = st.lists(st.integers(1, 30), max_size=5)


def _fed(data: bytes, sizes: list[int]) -> tuple[RequestParser, bytes]:
    parser = RequestParser(LIMITS)
    pieces = [*cut(data, sizes)]
    for at, piece in enumerate(pieces):
        rest = parser.feed(piece)
        if parser.complete:
            return parser, rest + b"".join(pieces[at + 1 :])
    return parser, b""


@given(SIZES)
def test_a_request_ends_where_it_ends(sizes: list[int]) -> None:
    head = b"\r\nPOST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
    parser, rest = _fed(head + b"abcGET", sizes)
    assert (parser.complete, rest, parser.method) == (True, b"GET", b"POST")
    assert parser.request().body == b"abc"
    assert (parser.upgrades, parser.closes, parser.proposes_upgrade) == (False, False, False)


@given(SIZES)
def test_what_a_request_says_of_the_connection(sizes: list[int]) -> None:
    parser, rest = _fed(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw", sizes)
    assert (parser.upgrades, parser.proposes_upgrade, rest) == (True, True, b"raw")
    for last in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
        parser, _ = _fed(last, sizes)
        assert (parser.upgrades, parser.closes) == (False, True)


@given(SIZES)
def test_a_large_body_is_not_kept(sizes: list[int]) -> None:
    parser, _ = _fed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n" + b"x" * 19, sizes)
    assert (parser.complete, parser.body_is_known) == (False, True)
    assert parser.request().body == b""


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\x00: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request(data: bytes) -> None:
    with pytest.raises(NotHttp):
        RequestParser(LIMITS).feed(data)


def _reply(*, method: bytes = b"GET", upgrades: bool = False, continued: bool = False) -> ReplyParser:
    return ReplyParser(LIMITS, method=method, upgrades=upgrades, continued=continued)


def test_responses_end_where_they_end() -> None:
    reply = _reply()
    assert reply.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP") == b"HTTP"
    assert (reply.complete, reply.closes, reply.switched) == (True, False, False)
    reply = _reply(method=b"HEAD")
    assert reply.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n") == b""
    assert (reply.complete, reply.closes) == (True, True)
    reply = _reply(upgrades=True)
    assert reply.feed(b"HTTP/1.1 101 X\r\nUpgrade: any\r\n\r\nraw") == b"raw"
    assert (reply.complete, reply.switched) == (True, True)


def test_an_end_is_an_end_only_where_nothing_tells_the_length() -> None:
    reply = _reply()
    reply.feed(b"HTTP/1.1 200 OK\r\n\r\nuntil")
    assert not reply.complete
    reply.feed(b"")
    assert (reply.complete, reply.closes) == (True, True)
    reply = _reply()
    reply.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
    with pytest.raises(NotHttp):
        reply.feed(b"")


def test_a_continue_that_the_client_has_had_ends_a_parser() -> None:
    reply = _reply(continued=True)
    assert reply.feed(b"HTTP/1.1 100 Continue\r\n\r\nrest") == b"rest"
    assert (reply.is_continue, reply.ended_early, reply.complete) == (True, True, False)
    reply = _reply(continued=True)
    assert reply.feed(b"HTTP/1.1 103 X\r\n\r\nrest") == b"rest"
    assert (reply.is_continue, reply.ended_early, reply.has_head) == (False, True, False)
