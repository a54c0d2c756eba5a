"""The parts of the program's memory that a record has kept."""

import re
from collections.abc import Sequence
from typing import Final

from mirrord.tracer.record import Area

_SHOWN: Final = 32
"""Bytes of a payload that are shown, as strace(1) does."""
_PLAIN: Final = re.compile(rb"[ !#-\[\]-~]*\Z")
_ESCAPES: Final = dict(zip(b'"\\\n\t\v\f\r', ('\\"', "\\\\", "\\n", "\\t", "\\v", "\\f", "\\r"), strict=True))


class Memory:
    """What was read of the program before its call, and what we wrote to it."""

    __slots__ = ("_areas",)

    def __init__(self, areas: Sequence[Area]) -> None:
        self._areas: Final = areas

    def with_others(self, others: Sequence[Area], *, got: bool) -> "Memory | None":
        """Return the same with other bytes at those addresses whose bytes the program has given, or has
        ``got``; None where there are none.
        """
        filled = {area.address for area in self._areas if area.written}
        instead = [
            Area(area.address, area.data + b"\0", written=got)
            for area in others
            if (area.address in filled) == got
        ]
        return Memory([*instead, *self._areas]) if instead else None

    def at(self, address: int, size: int, *, written: bool = False) -> bytes | None:
        """Return up to ``size`` bytes at an address, None where nothing is known of it."""
        for area in self._areas:
            start = address - area.address
            if area.written == written and 0 <= start < len(area.data):
                return area.data[start : start + size]
        return None

    def string(self, address: int) -> bytes | None:
        """Return the text at an address without its NUL, None where nothing, or no end, is known."""
        for area in self._areas:
            if area.address == address and not area.written:
                text, nul, _ = area.data.partition(b"\0")
                return text if nul else None
        return None

    def number(self, address: int, *, written: bool = False) -> int | None:
        """Return the ``int`` at an address."""
        data = self.at(address, 4, written=written)
        return int.from_bytes(data, "little", signed=True) if data is not None and len(data) == 4 else None


def quoted(data: bytes) -> str:
    """Return bytes between quotes, escaped as strace(1) does."""
    if _PLAIN.match(data):
        return f'"{data.decode("ascii")}"'
    return f'"{"".join(_escaped(data, at) for at in range(len(data)))}"'


def _escaped(data: bytes, at: int) -> str:
    byte = data[at]
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    if 32 <= byte < 127:
        return chr(byte)
    # the shortest octal number that a digit after it cannot change
    following = data[at + 1 : at + 2]
    return f"\\{byte:03o}" if b"0" <= following <= b"7" and following else f"\\{byte:o}"


def payload(data: bytes | None, size: int, address: int) -> str:
    """Return the first bytes of ``size``, quoted."""
    if not address:
        return "NULL"
    if data is None and size:
        return pointer(address)
    shown = (data or b"")[: min(size, _SHOWN)]
    return quoted(shown) + ("..." if size > len(shown) else "")


def pointer(address: int) -> str:
    """Return an address."""
    return f"{address:#x}" if address else "NULL"
