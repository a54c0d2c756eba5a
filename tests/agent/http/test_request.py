"""What filters see of a request."""

import pytest
from mirrord_agent.http.request import Request


@pytest.mark.parametrize(
    ("target", "seen", "path"),
    [
        (b"/a/b?c=d", "/a/b?c=d", "/a/b"),
        (b"/a?x=http://b/", "/a?x=http://b/", "/a"),
        (b"http://host/a?c", "/a?c", "/a"),
        (b"http://host", "/", "/"),
        (b"http://[/?a", "http://[/?a", "http://[/"),
        (b"*", "*", "*"),
        (b"host:443", "host:443", "host:443"),
        (b"/\xc3\xa4", "/Ã¤", "/Ã¤"),
    ],
)
def test_targets(target: bytes, seen: str, path: str) -> None:
    request = Request.make(b"GET", target, [])
    assert (request.target, request.path) == (seen, path)


def test_headers_that_are_not_ascii_are_left_out() -> None:
    assert Request.make(b"GET", b"/", [(b"a", b"b"), (b"c", b"\xff"), (b"a", b"")]).headers == ("a: b", "a: ")
