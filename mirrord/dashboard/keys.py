"""What the keyboard sends, as names of keys."""

from collections.abc import Iterator
from typing import Final

ESCAPE: Final = "escape"
_SEQUENCES: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b[1~": "home",
    b"\x1b[4~": "end",
    b"\x1b[Z": "back tab",
}
_SINGLE: Final = {
    0x0D: "enter",
    0x0A: "enter",
    0x09: "tab",
    0x7F: "backspace",
    0x08: "backspace",
    0x03: "ctrl-c",
    0x0C: "ctrl-l",
    0x1D: "ctrl-]",
    0x1B: ESCAPE,
}


def keys(data: bytes) -> Iterator[tuple[str, int]]:
    """Return the keys in what was read at once, each with where it ends; a sequence that is not known is left
    out.
    """
    at = 0
    while at < len(data):
        sequence = next((one for one in _SEQUENCES if data.startswith(one, at)), None)
        if sequence is not None:
            at += len(sequence)
            yield _SEQUENCES[sequence], at
        elif data.startswith(b"\x1b[", at):
            at = _end_of_sequence(data, at + 2)
        elif data[at] in _SINGLE:
            at += 1
            yield _SINGLE[data[at - 1]], at
        else:
            size = _character_size(data[at])
            at += size
            yield data[at - size : at].decode("utf-8", "replace"), at


def _end_of_sequence(data: bytes, at: int) -> int:
    """Return where a control sequence ends: after its first byte from ``@`` to ``~`` (ECMA-48, 5.4)."""
    while at < len(data) and not 0x40 <= data[at] <= 0x7E:
        at += 1
    return at + 1


def _character_size(first: int) -> int:
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
