"""Writes a frame to the terminal: of its lines those that are not what the last one had there."""

from collections.abc import Sequence
from typing import Final

from rich.console import COLOR_SYSTEMS, Console
from rich.segment import Segment


class Painter:
    """What the terminal shows, line by line.

    rich's own way of writing takes more than twice as long as all of the layout before it, and a frame is
    mostly the last one.
    """

    def __init__(self, console: Console) -> None:
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
        segments = Segment.remove_color(line) if self._no_color else line
        return "".join(
            segment.style.render(segment.text, color_system=self._system)
            if segment.style is not None and self._system is not None
            else segment.text
            for segment in segments
        )
