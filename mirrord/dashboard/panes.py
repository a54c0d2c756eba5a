"""The panes of the dashboard, each as a rich renderable of a given size."""

import re
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mirrord.dashboard.board import Board, Flow, Process, Rates, Retired
from mirrord.dashboard.choice import PANES, Choice
from mirrord.trace.event import Side
from mirrord.trace.events import Call
from mirrord.trace.plain import duration
from mirrord.tracer.text.call import result

_BARS: Final = " ▁▂▃▄▅▆▇█"
_SIDE: Final[dict[Side, tuple[str, str]]] = {
    "local": (" ", "dim"),
    "remote": ("▶", "bold cyan"),
    "absent": ("∅", "bold magenta"),
}
_SLOW: Final = ((0.1, "bold red"), (0.01, "yellow"), (0.0, "green"))
_STATUS: Final = ("", "dim", "green", "cyan", "yellow", "bold red", "red", "red", "red", "red")
"""By the first digit of a status code."""
_WIDE: Final = 70
_NARROW: Final = 30
"""Of the pane of planes."""
_STATES: Final = {
    "established": "open",
    "pending": "wait",
    "connected": "open",
    "failed": "fail",
    "mirrored": "copy",
    "stolen": "taken",
}
_ADDRESS: Final = re.compile(r'htons\((\d+)\)[^"]*"([^"]*)"')
_UNIX: Final = re.compile(r'sun_path=@?"([^"]*)"')
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def calls(board: Board, choice: Choice, width: int, height: int) -> RenderableType:
    """Show calls, the newest first, with one selected."""
    shown = choice.calls(board, max(height + choice.row, height))
    first = max(0, choice.row - height + 1)
    lines = []
    for index, call in enumerate(shown[first : first + height], first):
        line = _call(board, call, width)
        if index == choice.row:
            line.stylize("reverse")
        lines.append(line)
    return Group(*lines) if lines else Text("nothing yet", style="dim")


def _call(board: Board, call: Call, width: int) -> Text:
    side = board.side(call)
    mark, style = _SIDE[side]
    failed = call.record.failed
    outcome = result(call.record).partition(" (")[0].removeprefix("-1 ")
    took = duration(call.seconds)
    line = Text(no_wrap=True, overflow="ellipsis", end="")
    line.append(f"{mark} ", style)
    line.append(f"{call.record.tid:>7} ", "dim")
    room = width - 11 - len(outcome) - 9
    line.append(_text(call, max(room, 10)).ljust(max(room, 10)), "" if side != "local" else "dim")
    line.append(f" {outcome}", "bold red" if failed else "dim" if not call.record.known else "green")
    line.append(f" {took:>7}", next(colour for least, colour in _SLOW if call.seconds >= least))
    line.truncate(width)
    line.append("\n")
    return line


def _text(call: Call, room: int) -> str:
    """Return a call; where there is no room for all of it, what it is about: a path's end, an address."""
    text = f"{call.name}({', '.join(call.arguments)})"
    if len(text) <= room:
        return text
    about = [call.arguments[at].strip('"') for at in call.paths if at < len(call.arguments)]
    if not about:
        about = [f"{host}:{port}" for port, host in _ADDRESS.findall(text)] or _UNIX.findall(text)
    if not about:
        return _cut(text, room)
    brief = ", ".join(about)
    left = room - len(call.name) - 2
    return f"{call.name}({brief if len(brief) <= left else '…' + brief[-max(left - 1, 1) :]})"[:room]


def processes(board: Board, width: int, height: int) -> RenderableType:
    """Show the tree of those that live, and how many have ended."""
    tree, ended = list(board.tree()), board.ended
    room = height - 1 if ended.count or len(tree) > height else height
    lines = [
        _process(str(process.pid), f"{'  ' * depth}{'└ ' if depth else ''}{process.name}", process, width)
        for depth, process in tree[:room]
    ]
    more = f"and {len(tree) - room} more" if len(tree) > room else ""
    if ended.count:
        lines.append(_process(str(ended.count), f"ended  {more}", ended, width))
        lines[-1].stylize("dim")
    elif more:
        lines.append(Text(more, "dim"))
    return Group(*lines) if lines else Text("none has called yet", style="dim")


def _process(number: str, name: str, done: Process | Retired, width: int) -> Text:
    room = max(width - 26, 6)
    return Text(f"{number:>7} {_cut(name, room):<{room}}{done.calls:>7} {done.remote:>6}▶", no_wrap=True)


def planes(board: Board, width: int, height: int) -> RenderableType:
    """Show calls per second by plane, and the link."""
    table = Table.grid(padding=(0, 1))
    rows: list[tuple[str, Rates]] = [(plane, rates) for plane, rates in board.planes.items()]
    for name, rates in (*rows, ("remote", board.remote)):
        table.add_row(
            Text(name, "bold cyan" if name == "remote" else ""),
            Text(f"{rates.now}/s", "bold", justify="right"),
            Text(_spark(rates, max(width - 24, 4)), "cyan"),
        )
    link = board.link
    if link is not None:
        trip = "…" if link.round_trip is None else duration(link.round_trip)
        table.add_row(
            Text("link"),
            Text(trip, justify="right"),
            Text("round trip" if width > _NARROW else "trip", "dim"),
        )
        for name, rates in ((" sent", board.link_sent), (" received", board.link_received)):
            table.add_row(Text(name), Text(_rate(rates), justify="right"), _sparks(rates, width))
    if board.dropped:
        table.add_row(Text("dropped", "bold red"), Text(str(board.dropped), "bold red"), Text("calls", "red"))
    return table


def connections(board: Board, width: int, height: int) -> RenderableType:
    """Show connections with both addresses, their bytes and rates."""
    if not board.flows:
        return Text("no connection was made", style="dim")
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="dim")
    table.add_column("")
    for head in ("remote", "in the pod", "here") if width >= _WIDE else ("remote",):
        table.add_column(head, no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("state", no_wrap=True, overflow="ellipsis", max_width=5)
    for head in ("sent", "rec'd"):
        table.add_column(head, justify="right", no_wrap=True, min_width=6)
    table.add_column("", no_wrap=True)
    flows = sorted(board.flows.values(), key=_busy, reverse=True)
    for flow in flows[: max(height - 1, 1)]:
        one = flow.connection
        style = "" if flow.open else "dim"
        table.add_row(
            one.protocol,
            Text(one.remote, "cyan" if flow.open else "dim"),
            *((Text(one.local), Text(one.program)) if width >= _WIDE else ()),
            _STATES.get(one.state, one.state) if flow.open else "gone",
            size(one.sent),
            size(one.received),
            Text(_spark_sum(flow.sent, flow.received, 8), "cyan"),
            style=style,
        )
    return table


def _busy(flow: Flow) -> tuple[bool, bool, bool, int]:
    """Return how much a connection is worth seeing: libraries connect datagram sockets and send nothing."""
    total = flow.sent.total + flow.received.total
    stream = flow.connection.protocol != "udp"
    return flow.open, stream, stream or total > 0, flow.sent.now + flow.received.now


def files(board: Board, width: int, height: int) -> RenderableType:
    """Show the remote files that were opened."""
    if not board.files:
        return Text("no remote file was opened", style="dim")
    table = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="dim")
    table.add_column("path", no_wrap=True, overflow="ellipsis", ratio=1)
    for head in ("size", "opened", "cached"):
        table.add_column(head, justify="right", no_wrap=True)
    for file in list(board.files.values())[::-1][: max(height - 1, 1)]:
        table.add_row(Text(file.path, "cyan"), size(file.size), str(file.opened), str(file.cached))
    return table


def names(board: Board, width: int, height: int) -> RenderableType:
    """Show what was asked of DNS, and answered."""
    marks = {"question": "?", "answer": "="}
    lines = [
        Text(f"{marks[note.kind]} {note.text}", _name_style(note.text, note.kind), no_wrap=True)
        for note in list(board.names)[-height:]
        if note.kind != "file"
    ]
    return Group(*lines) if lines else Text("no name was asked for", style="dim")


def requests(board: Board, width: int, height: int) -> RenderableType:
    """Show the requests that reached the program, and what it answered."""
    lines = []
    for one in list(board.exchanges.values())[-height:]:
        status, style = ("…", "dim") if one.status is None else (str(one.status), _STATUS[one.status // 100])
        took = duration(one.seconds) if one.status is not None else ""
        line = Text(no_wrap=True)
        line.append(f"{status:>3} ", style)
        where = f" {took:>8}" + (f"  {one.asked.remote} → {one.asked.port}" if width >= _WIDE else "")
        room = max(width - 4 - len(where), 10)
        line.append(_cut(one.asked.request, room).ljust(room))
        line.append(where, "dim")
        lines.append(line)
    return Group(*lines) if lines else Text("no request has come", style="dim")


def _name_style(text: str, kind: str) -> str:
    if kind == "question":
        return "dim"
    return "red" if text.rpartition(": ")[2] in ("NXDOMAIN", "SERVFAIL", "REFUSED") else "cyan"


def details(board: Board, call: Call) -> RenderableType:
    """Show all that is known of a call, and why it went where it went."""
    assert board.explainer is not None
    assert board.info is not None
    event = call.event(board.explainer, board.info)
    table = Table.grid(padding=(0, 2))
    when = time.strftime("%H:%M:%S", time.localtime(event.time)) + f"{event.time % 1:.6f}"[1:]
    waited = ", after waiting for the target" if event.held else ""
    # the smallest screen has room for twelve
    rows = [
        ("call", f"{event.call} = {result(call.record)}"),
        ("went", f"{event.side}, plane {event.plane}"),
        ("why", event.rule),
        ("took", f"{duration(event.duration)}: {event.answer}{waited}"),
        ("process", f"{event.pid} ({event.command}), thread {event.tid}"),
        ("when", when),
        *((f"  {index}", argument) for index, argument in enumerate(call.full_arguments)),
    ]
    for name, text in rows:
        table.add_row(Text(name, "bold"), Text(text, "cyan" if name in ("why", "went") else ""))
    return table


HELP: Final = (
    ("p, space", "pause, and go on"),
    ("↑ ↓ j k page home end", "select a call"),
    ("enter", "details, and why it went there"),
    ("r, e, f", "only remote, errors, one plane"),
    ("P, /", "only its process, with a text"),
    ("c, escape", "no filter"),
    ("o", "newest or slowest first"),
    (f"tab, 1–{len(PANES)}", "another pane"),
    ("i, Ctrl-]", "type to the program, come back"),
    ("Ctrl-C, Ctrl-L", "interrupt it, draw all anew"),
    ("q", "quit"),
)
"""As much as the smallest screen has room for."""


def help_() -> RenderableType:
    """Show the keys."""
    table = Table.grid(padding=(0, 2))
    for key, what in HELP:
        table.add_row(Text(key, "bold"), what)
    return table


def size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"


def _rate(rates: Rates) -> str:
    return f"{size(rates.now)}/s"


def _sparks(rates: Rates, width: int) -> Text:
    return Text(_spark(rates, max(width - 24, 4)), "cyan")


def _spark(rates: Rates, width: int) -> str:
    return _bars(list(rates.history)[-width:])


def _spark_sum(one: Rates, other: Rates, width: int) -> str:
    return _bars([a + b for a, b in zip(one.history, other.history, strict=False)][-width:])


def _bars(values: Sequence[int]) -> str:
    most = max(values, default=0)
    if not most:
        return ""
    return "".join(_BARS[-(-value * (len(_BARS) - 1) // most)] for value in values)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
