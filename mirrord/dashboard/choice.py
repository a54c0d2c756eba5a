"""What the user has chosen to see."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeVar

from mirrord.dashboard.board import Board
from mirrord.trace.event import PLANES, Plane
from mirrord.trace.events import Call


class Pane(Enum):
    """What can be looked at; the value is its title."""

    CALLS = "calls"
    OUTPUT = "output"
    CONNECTIONS = "connections"
    PROCESSES = "processes"
    FILES = "remote files"
    NAMES = "DNS"
    SLOWEST = "slowest"
    FAILED = "failed"
    REQUESTS = "incoming requests"


T = TypeVar("T")
PANES: Final = tuple(Pane)


class Mode(Enum):
    """What keys are for."""

    LOOK = "look"
    TYPE = "type"
    """They go to the program."""
    SEARCH = "search"
    DETAILS = "details"
    HELP = "help"


class Order(Enum):
    """How calls are sorted."""

    TIME = "newest first"
    DURATION = "slowest first"


@dataclass(slots=True)
class Choice:
    """The state of the view, changed by keys."""

    pane: Pane = Pane.CALLS
    mode: Mode = Mode.LOOK
    order: Order = Order.TIME
    row: int = 0
    """The selected call, from the top."""
    plane: Plane | None = None
    pid: int | None = None
    text: str = ""
    only_remote: bool = False
    only_errors: bool = False
    paused: list[Call] | None = None
    """The calls that are shown while the view is paused."""
    chosen: Call | None = None
    """Whose details are shown."""
    done: bool = False
    has_output: bool = True
    _shown: list[Call] = field(default_factory=list)

    @property
    def filters(self) -> str:
        """Return what is filtered, for people."""
        parts = [
            self.plane or "",
            f"pid {self.pid}" if self.pid is not None else "",
            f"/{self.text}/" if self.text else "",
            "remote" if self.only_remote else "",
            "errors" if self.only_errors else "",
        ]
        return " ".join(filter(None, parts))

    def calls(self, board: Board, most: int) -> Sequence[Call]:
        """Return the calls to show, at most so many."""
        source = self._source(board)
        found: list[Call] = []
        for call in source:
            if self._has(board, call):
                found.append(call)
                if len(found) >= most:
                    break
        self._shown = found
        self.row = max(0, min(self.row, len(found) - 1))
        return found

    def _source(self, board: Board) -> Sequence[Call]:
        calls = self.paused if self.paused is not None else board.calls
        if self.pane is Pane.FAILED and self.paused is None:
            return list(reversed(board.failed))
        if self.pane is Pane.SLOWEST:
            return sorted(board.slowest, key=lambda call: -call.seconds)
        if self.order is Order.DURATION:
            return sorted(calls, key=lambda call: -call.seconds)
        return list(reversed(calls))

    def _has(self, board: Board, call: Call) -> bool:
        if self.only_errors and not call.record.failed:
            return False
        if self.pid is not None and call.thread.pid != self.pid:
            return False
        if self.only_remote and board.side(call) == "local":
            return False
        explainer = board.explainer
        if self.plane and explainer is not None and call.why(explainer).plane != self.plane:
            return False
        return not self.text or self.text in f"{call.name}({', '.join(call.arguments)})"

    def key(self, key: str, board: Board) -> None:
        """Do what a key is for; keys for the program do not come here."""
        match self.mode:
            case Mode.SEARCH:
                self._search(key)
            case Mode.HELP:
                self.mode = Mode.LOOK
            case Mode.DETAILS:
                self.mode = Mode.LOOK
                self.chosen = None
            case _:
                self._look(key, board)

    def _search(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.text = self.text if key == "enter" else ""
            self.mode = Mode.LOOK
        elif key == "backspace":
            self.text = self.text[:-1]
        elif len(key) == 1 and key.isprintable():
            self.text += key

    def _look(self, key: str, board: Board) -> None:
        match key:
            case "q":
                self.done = True
            case "?" | "h":
                self.mode = Mode.HELP
            case "p" | " ":
                self.paused = list(board.calls) if self.paused is None else None
            case "/":
                self.mode, self.text = Mode.SEARCH, ""
            case "f":
                self.plane = _next((None, *PLANES), self.plane)
            case "r":
                self.only_remote = not self.only_remote
            case "e":
                self.only_errors = not self.only_errors
            case "o":
                self.order = Order.DURATION if self.order is Order.TIME else Order.TIME
            case "c" | "escape":
                self.plane = self.pid = None
                self.text, self.only_remote, self.only_errors, self.row = "", False, False, 0
            case "i" if self.has_output:
                self.mode = Mode.TYPE
            case "tab" | "right":
                self.pane = _next(PANES, self.pane)
            case "back tab" | "left":
                self.pane = _next(PANES[::-1], self.pane)
            case _:
                self._select(key)

    def _select(self, key: str) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}
        if key in steps:
            self.row += steps[key]
        elif key == "home":
            self.row = 0
        elif key == "end":
            self.row = len(self._shown)
        elif key.isdigit() and 0 < int(key) <= len(PANES):
            self.pane = PANES[int(key) - 1]
        elif self._shown and 0 <= self.row < len(self._shown):
            call = self._shown[self.row]
            if key == "enter":
                self.chosen, self.mode = call, Mode.DETAILS
            elif key == "P":
                self.pid = None if self.pid is not None else call.thread.pid
        self.row = max(0, self.row)


def _next(values: Sequence[T], value: T) -> T:
    return values[(values.index(value) + 1) % len(values)]
