"""Puts the panes together, for any size from 60×15 up."""

from collections.abc import Sequence
from typing import Final

from rich.console import RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.text import Text

from mirrord.dashboard import panes
from mirrord.dashboard.board import Board
from mirrord.dashboard.choice import PANES, Choice, Mode, Order, Pane
from mirrord.dashboard.output import Output

LEAST: Final = (60, 15)
_MEDIUM: Final = (80, 24)
_LARGE: Final = (120, 40)
_PLANES_WIDTH: Final = 36
_NARROW_PLANES: Final = 30
_FRAME: Final = 2
_CALL_PANES: Final = (Pane.CALLS, Pane.SLOWEST, Pane.FAILED)


class View:
    """Draws what is known, as the user has chosen."""

    def __init__(self, board: Board, choice: Choice, output: Output | None) -> None:
        self._board: Final = board
        self._choice: Final = choice
        self._output: Final = output
        self.output_size: tuple[int, int] = (80, 24)
        """What the pane of the program's output had when it was drawn: columns and lines."""

    def draw(self, width: int, height: int) -> RenderableType:
        """Return the whole screen."""
        if (width, height) < LEAST or height < LEAST[1]:
            return Text(f"mirrord: the terminal has {width}×{height}, and 60×15 are needed")
        root = Layout()
        header, footer = Layout(self._header(width), size=1), Layout(self._footer(width), size=1)
        root.split_column(header, Layout(name="body"), footer)
        root["body"].update(self._body(width, height - 2))
        return root

    def _body(self, width: int, height: int) -> Layout | Panel:
        choice, board = self._choice, self._board
        if choice.mode is Mode.HELP:
            return Panel(panes.help_(), title="keys", border_style="cyan")
        if choice.mode is Mode.DETAILS and choice.chosen is not None:
            return Panel(panes.details(board, choice.chosen), title="details", border_style="cyan")
        if width >= _LARGE[0] and height + 2 >= _LARGE[1]:
            return self._large(width, height)
        if width >= _MEDIUM[0] and height + 2 >= _MEDIUM[1]:
            return self._medium(width, height)
        return self._panel(self._front(), width, height)

    def _front(self) -> Pane:
        """Return what has the whole small screen."""
        return Pane.OUTPUT if self._choice.mode is Mode.TYPE else self._choice.pane

    def _medium(self, width: int, height: int) -> Layout:
        upper = max((height * 11) // 20, 11)
        layout = Layout()
        layout.split_column(Layout(name="upper", size=upper), Layout(name="lower"))
        layout["upper"].split_row(
            Layout(self._panel(self._calls_pane(), width - _NARROW_PLANES, upper)),
            Layout(self._planes(_NARROW_PLANES, upper), size=_NARROW_PLANES),
        )
        layout["lower"].update(self._panel(self._second(), width, height - upper))
        return layout

    def _calls_pane(self) -> Pane:
        return self._choice.pane if self._choice.pane in _CALL_PANES else Pane.CALLS

    def _second(self) -> Pane:
        pane = self._front()
        if pane not in _CALL_PANES:
            return pane
        return Pane.OUTPUT if self._output is not None else Pane.CONNECTIONS

    def _large(self, width: int, height: int) -> Layout:
        upper, middle = (height * 2) // 5, (height * 3) // 10
        left = max(width // 4, 40)
        layout = Layout()
        above = Layout(name="upper", size=upper), Layout(name="middle", size=middle)
        layout.split_column(*above, Layout(name="lower"))
        layout["upper"].split_row(
            Layout(self._left(left, upper), size=left),
            Layout(self._panel(self._calls_pane(), width - left - _PLANES_WIDTH, upper)),
            Layout(self._planes(_PLANES_WIDTH, upper), size=_PLANES_WIDTH),
        )
        half = width // 2
        third = (width - half) // 2
        layout["middle"].split_row(
            Layout(self._panel(Pane.CONNECTIONS, half, middle), size=half),
            Layout(self._panel(Pane.FILES, third, middle), size=third),
            Layout(self._panel(Pane.NAMES, width - half - third, middle)),
        )
        lower = height - upper - middle
        top = Pane.FAILED if self._choice.pane is Pane.SLOWEST else Pane.SLOWEST
        if self._output is None:
            layout["lower"].update(self._panel(top, width, lower))
            return layout
        layout["lower"].split_row(
            Layout(self._panel(Pane.OUTPUT, width - half + half // 4, lower)),
            Layout(self._panel(top, half - half // 4, lower), size=half - half // 4),
        )
        return layout

    def _left(self, width: int, height: int) -> Layout | Panel:
        """Show the processes, and below them what reaches the program, once something does."""
        if not self._board.exchanges:
            return self._panel(Pane.PROCESSES, width, height)
        upper = height // 2
        layout = Layout()
        layout.split_column(
            Layout(self._panel(Pane.PROCESSES, width, upper), size=upper),
            Layout(self._panel(Pane.REQUESTS, width, height - upper)),
        )
        return layout

    def _planes(self, width: int, height: int) -> Panel:
        inner = panes.planes(self._board, width - 4, height - _FRAME)
        return Panel(inner, title="calls per second", border_style="dim")

    def _panel(self, pane: Pane, width: int, height: int) -> Panel:
        inside = width - 2 - _FRAME, height - _FRAME
        chosen = pane is self._front()
        title = f"{PANES.index(pane) + 1} {pane.value}"
        if pane in _CALL_PANES:
            paused = " (paused)" if self._choice.paused is not None else ""
            order = Order.DURATION if pane is Pane.SLOWEST else self._choice.order
            title += f": {self._choice.filters or order.value}{paused}"
        return Panel(
            self._content(pane, *inside),
            # where there are no colours, too
            title=Text(title, "bold" if chosen else ""),
            border_style="cyan" if chosen else "dim",
            height=height,
            width=width,
        )

    def _content(self, pane: Pane, width: int, height: int) -> RenderableType:
        board = self._board
        match pane:
            case Pane.CALLS | Pane.SLOWEST | Pane.FAILED:
                return panes.calls(board, self._choice_for(pane), width, height)
            case Pane.OUTPUT:
                return self._drawn_output(width, height)
            case Pane.CONNECTIONS:
                return panes.connections(board, width, height)
            case Pane.PROCESSES:
                return panes.processes(board, width, height)
            case Pane.FILES:
                return panes.files(board, width, height)
            case Pane.NAMES:
                return panes.names(board, width, height)
            case Pane.REQUESTS:
                return panes.requests(board, width, height)

    def _choice_for(self, pane: Pane) -> Choice:
        """Return the user's choice where the pane has it, else the plain order of another pane."""
        return self._choice if pane is self._calls_pane() else Choice(pane=pane, row=0)

    def _drawn_output(self, width: int, height: int) -> RenderableType:
        if self._output is None:
            return Text("the program has a terminal of its own", style="dim")
        self.output_size = (width, height)
        lines: Sequence[Text] = self._output.drawn(cursor=self._choice.mode is Mode.TYPE)
        return Text("\n").join(lines[:height])

    def _header(self, width: int) -> Text:
        info = self._board.info
        text = Text(no_wrap=True, overflow="ellipsis", style="reverse")
        if info is None:
            text.append(" mirrord: the session starts …")
        else:
            where = info.target or "no target: everything is local"
            text.append(f" mirrord {info.id} ", "bold")
            program = " ".join(" ".join(info.program).split())
            room = max(width - len(where) - 24, 8)
            text.append(f" {program if len(program) <= room else program[: room - 1] + '…'}  →  {where}")
        text.truncate(width, pad=True)
        return text

    def _footer(self, width: int) -> Text:
        choice = self._choice
        if choice.mode is Mode.TYPE:
            hint = " keys go to the program; Ctrl-] comes back"
        elif choice.mode is Mode.SEARCH:
            hint = f" /{choice.text}▏ enter: keep, escape: all"
        else:
            hint = " ? help  q quit  p pause  / find  f plane  r remote  e errors  enter why  tab pane"
            hint += "  i type" if self._output is not None else ""
        text = Text(hint, style="reverse", no_wrap=True, overflow="ellipsis")
        text.truncate(width, pad=True)
        return text
