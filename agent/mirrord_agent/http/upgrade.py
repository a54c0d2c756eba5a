"""Taking the proposal of HTTP/2 out of an HTTP/1.1 request.

Were it accepted, every later request of the connection would be the server's that had the first one. A
proposal may be ignored, and HTTP/2 has given this one up (RFC 9110, 7.8; RFC 9113, 3.1): the client goes on
in HTTP/1.1.
"""

import re
from collections.abc import Iterable
from typing import Final

from mirrord_agent.http.request import Header

_LINE: Final = re.compile(rb"(?P<name>[^:\r\n]+):(?P<value>[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)\r?\n")
"""One header with its end, and with its continuations (RFC 9112, 5.2)."""


def proposes_h2c(headers: Iterable[Header]) -> bool:
    """Tell whether a client would like to go on in HTTP/2; names are in lower case."""
    return any(name == b"upgrade" and b"h2c" in _words(value) for name, value in headers)


def without_h2c(head: bytes) -> bytes:
    """Return a request's head, which may have more after it, without that proposal.

    Everything else stays as it is, other protocols that are proposed included.
    """
    begin = len(head) - len(head.lstrip(b"\r\n"))
    end = begin = head.index(b"\n", begin) + 1
    lines: list[re.Match[bytes]] = []
    while (line := _LINE.match(head, end)) is not None:
        lines.append(line)
        end = line.end()
    others = any(_words(line["value"]) != [b"h2c"] for line in lines if _name(line) == b"upgrade")
    gone = {b"http2-settings"} if others else {b"http2-settings", b"upgrade"}
    return head[:begin] + b"".join(_kept(line, gone) for line in lines) + head[end:]


def _kept(line: re.Match[bytes], gone: set[bytes]) -> bytes:
    """Return what stays of a header; ``gone`` are others that do not."""
    name = _name(line)
    if name in gone:
        return b""
    without = {b"upgrade": {b"h2c"}, b"connection": gone}.get(name, set())
    if without.isdisjoint(_words(line["value"])):
        return line[0]
    kept = [word.strip() for word in line["value"].split(b",") if word.strip().lower() not in without]
    return line["name"] + b": " + b", ".join(kept) + b"\r\n" if kept else b""


def _name(line: re.Match[bytes]) -> bytes:
    return line["name"].strip().lower()


def _words(value: bytes) -> list[bytes]:
    return [word.strip().lower() for word in value.split(b",")]
