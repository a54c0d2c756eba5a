"""The program's own output, as its terminal would show it."""

import os
from collections import deque
from collections.abc import Callable
from typing import Final

import pyte
from rich.style import Style
from rich.text import Text

_HISTORY: Final = 2000
_COLOURS: Final = {"brown": "yellow", "brightbrown": "bright_yellow", "default": None}


class Output:
    """A terminal of the pane's size; the program writes to it, and what it shows is drawn."""

    def __init__(self, master: int | None, *, columns: int = 80, lines: int = 24) -> None:
        self._master: Final = master
        self._screen: Final = _Screen(columns, lines, self.type)
        self._stream: Final = pyte.ByteStream(self._screen)

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

    def feed(self, data: bytes) -> None:
        """Take what the program has written."""
        self._stream.feed(data)

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

    def last(self, count: int) -> list[str]:
        """Return the last lines that are not empty, as text: what is left of it when the view is gone."""
        history = [
            "".join(row[x].data for x in range(self._screen.columns)) for row in self._screen.history.top
        ]
        lines = [line.rstrip() for line in (*history, *self._screen.display)]
        while lines and not lines[-1]:
            lines.pop()
        return list(deque(lines, maxlen=count))


class _Screen(pyte.HistoryScreen):
    """pyte's screen, which gives the answers that programs ask a terminal for to the program."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], None]) -> None:
        self.answer: Final = answer
        super().__init__(columns, lines, history=_HISTORY, ratio=0.5)

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
    return Style(
        color=_colour(cell.fg),
        bgcolor=_colour(cell.bg),
        bold=cell.bold or None,
        italic=cell.italics or None,
        underline=cell.underscore or None,
        reverse=(cell.reverse != reverse) or None,
    )


def _colour(name: str) -> str | None:
    if name in _COLOURS:
        return _COLOURS[name]
    if len(name) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in name):
        return f"#{name}"
    return name.replace("bright", "bright_")
