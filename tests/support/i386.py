"""Programs of 32 bits, written by hand: no compiler for them is needed."""

import struct
from typing import Final

_BASE: Final = 0x08048000
_HEADERS: Final = 52 + 32

EXIT_WITH_7: Final = bytes.fromhex("b801000000 bb07000000 cd80")
_PRINTING: Final = bytes.fromhex("b804000000 bb01000000 b9") + struct.pack("<I", _BASE + _HEADERS + 29)
PRINT_AND_PAUSE: Final = _PRINTING + bytes.fromhex("ba01000000 cd80 b81d000000 cd80") + b"\n"
"""Prints an empty line, and waits for a signal."""


def elf(code: bytes) -> bytes:
    """Return an i386 program of machine code."""
    identity = b"\x7fELF\x01\x01\x01" + bytes(9)
    entry, size = _BASE + _HEADERS, _HEADERS + len(code)
    header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, entry, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, 0, _BASE, _BASE, size, size, 5, 4096)
    return identity + header + segment + code
