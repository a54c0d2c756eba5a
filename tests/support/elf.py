"""Programs made of bytes."""

import struct


def exiting_elf32() -> bytes:
    """Return an i386 program that exits with 7."""
    code = bytes.fromhex("b801000000 bb07000000 cd80")
    base, size = 0x08048000, 52 + 32
    identity = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + size, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, 0, base, base, size + len(code), size + len(code), 5, 4096)
    return identity + header + segment + code
