"""What a connection speaks, told from its first bytes."""

from enum import Enum, auto
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What an HTTP/2 client begins with (RFC 9113, 3.4)."""
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LONGEST_METHOD: Final = 64
_LONGEST_LINE: Final = 16 * 1024


class Spoken(Enum):
    """What it is; UNKNOWN needs more bytes."""

    HTTP1 = auto()
    HTTP2 = auto()
    OTHER = auto()
    UNKNOWN = auto()


def detect(begin: bytes) -> Spoken:
    """Tell what a client speaks that has sent this; more bytes only ever change UNKNOWN."""
    if begin.startswith(PREFACE):
        return Spoken.HTTP2
    if PREFACE.startswith(begin):
        return Spoken.UNKNOWN
    line, end, _ = begin.lstrip(b"\r\n").partition(b"\n")
    method, space, rest = line.partition(b" ")
    if not _TOKEN.issuperset(method) or len(method) > _LONGEST_METHOD or (space and not method):
        return Spoken.OTHER
    if not end:
        return Spoken.OTHER if len(begin) > _LONGEST_LINE else Spoken.UNKNOWN
    _, _, version = rest.rstrip(b"\r").rpartition(b" ")
    return Spoken.HTTP1 if version in (b"HTTP/1.1", b"HTTP/1.0") else Spoken.OTHER
