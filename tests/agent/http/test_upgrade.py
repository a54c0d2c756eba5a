"""Proposals of HTTP/2, taken out of requests."""

import pytest
from mirrord_agent.http.upgrade import proposes_h2c, without_h2c

_OTHERS = b"Host: a\r\nAccept:\tx\r\n"
_END = b"\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\nbody"


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", b""),
        (
            b"upgrade:h2c\r\nhttp2-settings:\r\nconnection:keep-alive,upgrade\r\n",
            b"connection: keep-alive\r\n",
        ),
        (b"Upgrade: H2C\r\nConnection: close\r\n", b"Connection: close\r\n"),
        (
            b"Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        ),
        (b"Upgrade:\r\n h2c\r\n", b""),
    ],
)
@pytest.mark.parametrize("begin", [b"", b"\r\n\r\n"])
def test_only_the_proposal_goes(lines: bytes, kept: bytes, begin: bytes) -> None:
    line = begin + b"GET http://a:1/ HTTP/1.1\r\n"
    assert without_h2c(line + lines + _OTHERS + _END) == line + kept + _OTHERS + _END
    assert without_h2c(line + _OTHERS + lines + _END) == line + _OTHERS + kept + _END


@pytest.mark.parametrize(
    ("value", "proposed"), [(b"h2c", True), (b"websocket, H2C", True), (b"websocket", False), (b"h2", False)]
)
def test_what_is_proposed(value: bytes, proposed: bool) -> None:
    assert proposes_h2c([(b"host", b"h2c"), (b"upgrade", value)]) is proposed
