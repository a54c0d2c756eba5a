"""Writes a frame to the terminal: of its lines those that are not what the last one had there."""

from collections.abc import Sequence
from typing import Final

from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment

from mirrord.letters import in_ascii

_CONTROLS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)))
"""What a terminal does not show but obeys (ECMA-48, 5.2 and 5.3); and DEL."""


class Painter:
    """What the terminal shows, line by line.

    rich's own way of writing takes more than twice as long as all of the layout before it, and a frame is
    mostly the last one.
    """

    def __init__(self, console: Console, *, unicode: bool = True) -> None:
        """``unicode`` tells whether the terminal can show more than ASCII."""
        self._unicode: Final = unicode
        system = console.color_system
        self._system: Final = COLOR_SYSTEMS[system] if system is not None else None
        self._no_color: Final = console.no_color
        self._shown: list[str] = []
        self._size: tuple[int, int] = (0, 0)

    def forget(self) -> None:
        """Write everything at the next frame, whatever the terminal shows."""
        self._shown = []

    def paint(self, lines: Sequence[Sequence[Segment]], size: tuple[int, int]) -> str:
        """Return what makes the terminal, of so many columns and rows, show these lines."""
        if size != self._size:
            self._size = size
            self.forget()
        new = [self._line(line) for line in lines]
        old = [*self._shown, *[None] * (len(new) - len(self._shown))]
        self._shown = new
        return "".join(
            f"\x1b[{row};1H{text}"
            for row, (text, before) in enumerate(zip(new, old, strict=False), 1)
            if text != before
        )

    def _line(self, line: Sequence[Segment]) -> str:
        # names come from elsewhere, and rich gives what moves the cursor no room
        segments = Segment.remove_color(line) if self._no_color else line
        text = "".join(
            segment.style.render(shown, color_system=self._system)
            if segment.style is not None and self._system is not None
            else shown
            for segment in segments
            if (shown := segment.text if segment.text.isprintable() else segment.text.translate(_CONTROLS))
        )
        # no sequence has anything outside ASCII in it
        return text if self._unicode or text.isascii() else in_ascii(text)
