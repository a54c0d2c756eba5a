"""The program's own output, as its terminal would show it."""

import os
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import pyte
from rich.style import Style
from rich.text import Text

_FLOOD: Final = 16 * 1024
"""Bytes that are drawn in full at once; pyte takes a thousand lines a second."""
_TAIL: Final = 64 * 1024
_MOST_WAITING: Final = 1024 * 1024
_SGR: Final = re.compile(rb"\x1b\[[0-9;:]*m")
_NOT_LINES: Final = re.compile(rb"\x1b(?!\[[0-9;:]*m)|[^\r]\n|[\x00-\x06\x0b-\x0c\x0e-\x1a\x1c-\x1f]")
"""What does more than to write lines in colours."""
_KEPT_COLOURS: Final = 64
_COLOURS: Final = {"brown": "yellow", "brightbrown": "bright_yellow", "default": None}


class Output:
    """A terminal of the pane's size; the program writes to it, and what it shows is drawn."""

    def __init__(self, master: int | None, *, columns: int = 80, lines: int = 24) -> None:
        self._master: Final = master
        self._screen: Final = _Screen(columns, lines, self.type)
        self._stream: Final = pyte.ByteStream(self._screen)
        self._waiting: Final = bytearray()
        self._tail: Final = bytearray()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return self._screen.columns, self._screen.lines

    def resize(self, columns: int, lines: int) -> bool:
        """Take another size; tell whether it is one."""
        if (columns, lines) == self.size or columns < 1 or lines < 1:
            return False
        self._screen.resize(lines, columns)
        return True

    @property
    def full(self) -> bool:
        """So much waits to be drawn that no more should be taken."""
        return len(self._waiting) > _MOST_WAITING

    def feed(self, data: bytes) -> None:
        """Take what the program has written; it is drawn by :meth:`settle`."""
        self._waiting.extend(data)
        self._tail.extend(data)
        del self._tail[:-_TAIL]

    def settle(self) -> None:
        """Bring the screen up to date.

        Of many lines, those that would have scrolled out of it are left out, which nobody could have read.
        """
        waiting = bytes(self._waiting)
        self._waiting.clear()
        if len(waiting) > _FLOOD:
            waiting = self._without_gone(waiting)
        self._stream.feed(waiting)

    def _without_gone(self, data: bytes) -> bytes:
        at = len(data)
        for _ in range(2 * self._screen.lines):
            at = data.rfind(b"\n", 0, at)
            if at < 0:
                return data
        gone, rest = data[: at + 1], data[at + 1 :]
        if _NOT_LINES.search(gone):
            return data
        return b"".join(_SGR.findall(gone)[-_KEPT_COLOURS:]) + rest

    def type(self, data: bytes) -> None:
        """Give the program keys."""
        if self._master is not None:
            try:
                os.write(self._master, data)
            except OSError:
                # it has ended
                return

    def drawn(self, *, cursor: bool) -> list[Text]:
        """Return the lines of the screen."""
        screen = self._screen
        at = (screen.cursor.y, screen.cursor.x) if cursor and not screen.cursor.hidden else None
        return [
            _line(screen.buffer[y], screen.columns, at[1] if at is not None and at[0] == y else None)
            for y in range(screen.lines)
        ]

    def last(self, count: int) -> bytes:
        """Return the last lines, for the terminal that is left: as written, or as they were on the screen."""
        tail = bytes(self._tail)
        if not _NOT_LINES.search(tail):
            lines = tail.splitlines(keepends=True)[-count:]
            return b"".join(lines) + (b"\x1b[0m" if lines else b"")
        rows = [row.rstrip() for row in self._screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return "".join(f"{row}\r\n" for row in rows).encode()


class _Screen(pyte.Screen):
    """pyte's screen, which gives the answers that programs ask a terminal for to the program."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], None]) -> None:
        self.answer: Final = answer
        super().__init__(columns, lines)

    def write_process_input(self, data: str) -> None:
        self.answer(data.encode())


def _line(cells: "dict[int, pyte.screens.Char]", columns: int, cursor: int | None) -> Text:
    text = Text(no_wrap=True, overflow="crop")
    run, style = "", None
    for x in range(columns):
        cell = cells[x]
        now = _style(cell, reverse=x == cursor)
        if now != style and run:
            text.append(run, style)
            run = ""
        run, style = run + cell.data, now
    text.append(run, style)
    return text


def _style(cell: "pyte.screens.Char", *, reverse: bool) -> Style:
    reversed_ = cell.reverse != reverse
    return _styled(cell.fg, cell.bg, cell.bold, cell.italics, cell.underscore, reversed_)


@lru_cache(maxsize=512)
def _styled(fg: str, bg: str, bold: bool, italic: bool, underline: bool, reverse: bool) -> Style:
    return Style(
        color=_colour(fg),
        bgcolor=_colour(bg),
        bold=bold or None,
        italic=italic or None,
        underline=underline or None,
        reverse=reverse or None,
    )


def _colour(name: str) -> str | None:
    if name in _COLOURS:
        return _COLOURS[name]
    if len(name) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in name):
        return f"#{name}"
    return name.replace("bright", "bright_")
