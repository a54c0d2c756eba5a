import pytest
from hpack import Encoder
from mirrord_agent.http.detect import PREFACE

from mirrord.feed.models import Exchange
from mirrord.link.addresses import Peer
from mirrord.link.tapping import Flow
from mirrord.session.exchanges import HttpTap

FLOW = Flow("tcp", Peer("10.0.0.2", 80), Peer("10.0.0.1", 5), incoming=True)


def told(*pieces: tuple[str, bytes]) -> list[tuple[str, int | None]]:
    """Return what is told of a connection in which these pieces are received and sent."""
    found: list[Exchange] = []
    tap = HttpTap(FLOW, found.append)
    for way, data in pieces:
        tap.data(memoryview(data), sent=way == "sent")
    assert all((one.remote, one.port) == ("10.0.0.1:5", 80) for one in found)
    return [(one.request, one.status) for one in found]


def test_a_request_and_its_answer() -> None:
    pieces = (("received", b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"), ("sent", b"HTTP/1.1 404 Not Found\r\n"))
    assert told(*pieces) == [("GET /x?y", None), ("GET /x?y", 404)]


def test_requests_on_one_connection_are_answered_in_order() -> None:
    pieces = (
        ("received", b"GET /1 HTTP/1.1\r\n"),
        ("received", b"POST /2 HTTP/1.0\r\n"),
        ("sent", b"HTTP/1.1 200 OK\r\n"),
        ("sent", b"HTTP/1.1 500 No\r\n"),
    )
    assert told(*pieces)[2:] == [("GET /1", 200), ("POST /2", 500)]


def test_what_comes_before_the_answer_proper_is_none() -> None:
    request = ("received", b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\n\r\n")
    go_on, made = ("sent", b"HTTP/1.1 100 Continue\r\n\r\n"), ("sent", b"HTTP/1.1 201 Made\r\n")
    assert told(request, go_on, ("received", b"body"), made) == [("POST /x", None), ("POST /x", 201)]
    assert told(request, ("sent", b"HTTP/1.1 101 Switching Protocols\r\n"))[1] == ("POST /x", 101)


def test_a_request_that_gives_orders_to_a_terminal_only_shows_them() -> None:
    encoded = Encoder().encode([(b":method", b"GET"), (b":path", b"/\x1b[2J")])
    frame = len(encoded).to_bytes(3, "big") + b"\x01\x05" + (1).to_bytes(4, "big") + encoded
    assert told(("received", b"GET /\x1b]52;c;eA==\x07 HTTP/1.1\r\n")) == [
        ("GET /\\x1b]52;c;eA==\\x07", None)
    ]
    assert told(("received", PREFACE + frame)) == [("GET /\\x1b[2J", None)]


def test_a_long_path_is_told_as_far_as_it_is_read() -> None:
    ((request, _),) = told(("received", b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n"))
    assert request.startswith("GET /xxx")
    assert len(request) < 1000


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01", b"get / HTTP/1.1\r\n", b"HELO here\n", b"\xff" * 600])
def test_what_is_no_request_tells_nothing(data: bytes) -> None:
    assert told(("received", data), ("sent", b"HTTP/1.1 200 OK\r\n")) == []


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def conversation() -> list[tuple[str, bytes]]:
    """Return two requests over HTTP/2 that are answered in the other order, with all that may be between."""
    client, server = Encoder(), Encoder()
    first, second = (client.encode([(":method", "POST"), (":path", path)]) for path in ("/1", "/2"))
    trailers = client.encode([("checksum", "1")])
    early, no, yes = (server.encode([(":status", status)]) for status in ("103", "404", "200"))
    settings = frame(4, 0, 0, b"")
    padded = frame(1, 0x28, 1, b"\x03" + b"\0" * 5 + first[:2] + b"\0" * 3) + frame(9, 0x4, 1, first[2:])
    body = frame(0, 0, 1, b"\x01" * 20_000) + frame(1, 0x5, 1, trailers)
    return [
        ("received", PREFACE + settings + padded + body + frame(1, 0x5, 3, second)),
        ("sent", settings + frame(1, 0x4, 3, early) + frame(1, 0x5, 3, no) + frame(1, 0x4, 1, yes)),
        ("sent", frame(0, 0x1, 1, b"\0" * 30_000)),
    ]


@pytest.mark.parametrize("size", [24, 1000, 100_000])
def test_requests_over_http2_are_answered_by_stream(size: int) -> None:
    pieces = [(way, data[at : at + size]) for way, data in conversation() for at in range(0, len(data), size)]
    assert told(*pieces) == [("POST /1", None), ("POST /2", None), ("POST /2", 404), ("POST /1", 200)]


@pytest.mark.parametrize(
    "payload",
    [
        frame(1, 0x4, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        frame(1, 0xC, 1, b""),
        frame(1, 0xC, 1, b"\x09\x82"),
        b"\xff\xff\xff\x01\0\0\0\0\x01",
    ],
)
def test_what_is_no_http2_ends_the_reading(payload: bytes) -> None:
    good = frame(1, 0x5, 3, Encoder().encode([(":method", "GET"), (":path", "/")]))
    assert told(("received", PREFACE + payload + good), ("received", good)) == []


def test_streams_that_are_never_answered_do_not_fill_it() -> None:
    client, server = Encoder(), Encoder()
    asked = b"".join(
        frame(1, 0x5, stream, client.encode([(":method", "GET"), (":path", "/")]))
        for stream in range(1, 999, 2)
    )
    answer = frame(1, 0x5, 997, server.encode([(":status", "204")]))
    assert told(("received", PREFACE + asked), ("sent", answer))[-1] == ("GET /", 204)
