"""The dashboard's process: reads the keyboard, the session and the program's terminal, and draws."""

import contextlib
import fcntl
import os
import selectors
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console

from mirrord.dashboard import terminal
from mirrord.dashboard.board import Board
from mirrord.dashboard.choice import Choice, Mode
from mirrord.dashboard.guard import Saved
from mirrord.dashboard.keys import keys
from mirrord.dashboard.output import Output
from mirrord.dashboard.painter import Painter
from mirrord.dashboard.view import View
from mirrord.errors import EXIT_MIRRORD
from mirrord.feed.frames import Kind
from mirrord.feed.models import Dropped, Exchange, Note, SessionInfo, State
from mirrord.trace.client import Client
from mirrord.trace.pcap import Pcap

_NICE: Final = 10
_FRAME_TIME: Final = 0.25
_TYPING_FRAME_TIME: Final = 0.05
"""Seconds between two drawings: while keys go to the program, what it echoes is waited for."""
_ROOM: Final = 1 << 16
_MOST_READS: Final = 64
"""Of a quarter of a MiB each; then the keyboard has its turn."""
_LAST_LINES: Final = 200
_BACK: Final = b"\x1d"
"""Ctrl-]."""


class App:
    """One dashboard."""

    def __init__(self, client: Client, master: int | None, pcap: Pcap | None) -> None:
        self._client: Final = client
        self._master: int | None = master
        self._pcap: Final = pcap
        self._saved: Final = Saved()
        self._board: Final = Board()
        self._choice: Final = Choice(has_output=master is not None)
        self._output: Final = Output(master) if master is not None else None
        self._view: Final = View(self._board, self._choice, self._output)
        self._console: Final = _console(self._saved)
        self._painter: Final = Painter(self._console, unicode=self._saved.kind.unicode)
        self._ended: bool = False
        self._terminated: bool = False
        self._dirty: bool = True
        self._waiting: bool = False
        """The session has told something that has not been taken yet."""
        self._frame_time: float = 0.0

    def run(self) -> int:
        """Show the session until it ends, or the user has seen enough."""
        wake, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        with self._screen(), selectors.DefaultSelector() as selector:
            for fd in (wake, self._saved.fd, self._client.socket, self._master):
                if fd is not None:
                    selector.register(fd, selectors.EVENT_READ)
            self._loop(selector, wake)
        self._leave()
        return 0

    def _loop(self, selector: selectors.BaseSelector, wake: int) -> None:
        drawn = ticked = 0.0
        while not (self._ended or self._choice.done or self._terminated):
            now = time.monotonic()
            wait = _TYPING_FRAME_TIME if self._choice.mode is Mode.TYPE else self._frame_time
            for key, _ in selector.select(max(0.0, drawn + wait - now) if self._dirty else 0.5):
                if key.fd != self._master or self._output is None or not self._output.full:
                    self._ready(selector, key.fd, wake)
            now = time.monotonic()
            self._dirty |= now - ticked >= 1
            if self._dirty and now - drawn >= wait:
                drawn, self._frame_time = now, _FRAME_TIME
                self._catch_up(selector)
                if now - ticked >= 1:
                    ticked = now
                    self._board.tick()
                self._draw()

    def _ready(self, selector: selectors.BaseSelector, fd: int, wake: int) -> None:
        self._dirty = True
        if fd == wake:
            signals = os.read(wake, 64)
            self._terminated |= any(number in (signal.SIGTERM, signal.SIGHUP) for number in signals)
        elif fd == self._saved.fd:
            self._typed()
        elif fd == self._master:
            self._printed(selector)
        else:
            # taken when it is drawn: to be woken for each frame would cost the program some time
            selector.unregister(fd)
            self._waiting = True

    def _catch_up(self, selector: selectors.BaseSelector) -> None:
        """Take what the session has told since the last time."""
        if self._waiting:
            self._waiting = False
            self._take_told()
            selector.register(self._client.socket, selectors.EVENT_READ)

    def _take_told(self) -> None:
        for _ in range(_MOST_READS):
            if self._client.ended or not self._client.has_more:
                return
            self._told()

    def _typed(self) -> None:
        try:
            data = os.read(self._saved.fd, _ROOM)
        except OSError:
            # EIO: it was hung up
            data = b""
        self._frame_time = _TYPING_FRAME_TIME
        if not data:
            # the terminal is gone
            self._terminated = True
        while data:
            data = self._to_program(data) if self._choice.mode is Mode.TYPE else self._to_view(data)

    def _to_program(self, data: bytes) -> bytes:
        """Give keys to the program up to the one that comes back; return the rest."""
        before, back, rest = data.partition(_BACK)
        if self._output is not None:
            self._output.type(before)
        if back:
            self._choice.mode = Mode.LOOK
        return rest

    def _to_view(self, data: bytes) -> bytes:
        """Do what keys are for, up to one after which they are the program's; return the rest."""
        for key, end in keys(data):
            if key == "ctrl-c":
                self._interrupt()
            elif key == "ctrl-l":
                # somebody else has written to the terminal
                self._painter.forget()
            else:
                self._choice.key(key, self._board)
            if self._choice.mode is Mode.TYPE:
                return data[end:]
        return b""

    def _interrupt(self) -> None:
        """Send the program what its terminal sends for Ctrl-C; without one here, quit."""
        if self._output is not None:
            self._output.type(b"\x03")
        else:
            self._choice.done = True

    def _printed(self, selector: selectors.BaseSelector) -> None:
        assert self._master is not None
        assert self._output is not None
        try:
            data = os.read(self._master, _ROOM)
        except OSError:
            # EIO: nobody has the program's terminal open any more
            selector.unregister(self._master)
            self._master = None
            self._ended = True
            return
        self._output.feed(data)

    def _told(self) -> None:
        for kind, payload in self._client.frames(0):
            match kind:
                case Kind.INFO:
                    self._board.begin(SessionInfo.model_validate_json(payload))
                case Kind.RECORDS:
                    self._board.take(payload)
                case Kind.STATE:
                    self._board.state(State.model_validate_json(payload))
                case Kind.NOTE:
                    self._board.note(Note.model_validate_json(payload))
                case Kind.EXCHANGE:
                    self._board.exchange(Exchange.model_validate_json(payload))
                case Kind.TRAFFIC if self._pcap is not None and self._board.info is not None:
                    self._pcap.add(payload, self._board.info.clock)
                case Kind.DROPPED:
                    self._board.dropped += Dropped.model_validate_json(payload).count
                case Kind.ENDED:
                    self._ended = True
        self._ended |= self._client.ended

    def _draw(self) -> None:
        self._dirty = False
        if self._output is not None:
            self._output.settle()
        rows, columns = _size(self._saved.fd)
        console = self._console
        console.size = (columns, rows)
        lines = console.render_lines(
            self._view.draw(columns, rows), console.options.update_dimensions(columns, rows), pad=True
        )
        self._write(self._painter.paint(lines[:rows], (columns, rows)))
        self._fit_output()

    def _write(self, text: str) -> None:
        file = self._console.file
        file.write(text)
        file.flush()

    def _fit_output(self) -> None:
        """Give the program's terminal the size of its pane."""
        if self._output is None or self._master is None:
            return
        columns, lines = self._view.output_size
        if self._output.resize(columns, lines):
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            self._dirty = True

    @contextlib.contextmanager
    def _screen(self) -> Iterator[None]:
        self._saved.raw()
        self._saved.enter_screen()
        try:
            yield
        finally:
            self._saved.leave_screen()
            self._saved.restore()

    def _leave(self) -> None:
        """Finish the capture, and leave on the terminal what the program wrote last."""
        if self._pcap is not None:
            self._take_told()
            self._pcap.flush()
        if self._output is None:
            return
        if self._ended:
            self._drain()
        self._output.settle()
        os.write(self._saved.fd, self._output.last(_LAST_LINES))

    def _drain(self) -> None:
        while self._master is not None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._master, selectors.EVENT_READ)
                if not selector.select(0):
                    return
                self._printed(selector)


def _console(saved: Saved) -> Console:
    colours = saved.kind.colours
    return Console(
        # a name of a file or a process may be no text in any encoding
        file=os.fdopen(os.dup(saved.fd), "w", encoding="utf-8", errors="replace"),
        highlight=False,
        color_system=colours or "standard",
        no_color=colours is None,
    )


def _size(fd: int) -> tuple[int, int]:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows or 24, columns or 80


def show(client: Client, master: int | None, pcap: Pcap | None = None) -> int:
    """Be the dashboard; return the exit code. ``pcap`` takes the target's traffic."""
    if terminal.look() is None:
        sys.stderr.write("mirrord: this terminal cannot show a dashboard; use mirrord trace --plain\n")
        return EXIT_MIRRORD
    # the program comes first
    os.nice(_NICE)
    return App(client, master, pcap).run()
