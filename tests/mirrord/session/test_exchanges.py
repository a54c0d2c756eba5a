import pytest

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


def test_a_long_path_is_told_as_far_as_it_is_read() -> None:
    ((request, _),) = told(("received", b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n"))
    assert request.startswith("GET /xxx")
    assert len(request) < 1000


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01", b"get / HTTP/1.1\r\n", b"HELO here\n", b"\xff" * 600])
def test_what_is_no_request_tells_nothing(data: bytes) -> None:
    assert told(("received", data), ("sent", b"HTTP/1.1 200 OK\r\n")) == []
