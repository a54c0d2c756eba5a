"""The process that the shell waits for while the dashboard has the terminal.

It holds what must outlive the dashboard: the terminal as it was, and the program's own terminal. So the
program goes on when the dashboard is killed, and whatever happens, the terminal is left as it was. Standard
library only.

    guard (in the job) ─┬─ dashboard: the user's terminal, in raw mode
                        └─ front → …: a session of its own, on a pseudo-terminal
"""

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import sys
import termios
import time
from collections.abc import Callable
from typing import Final, NoReturn

from mirrord.dashboard import terminal
from mirrord.session import front
from mirrord.tracer.sys import PR_SET_PDEATHSIG, prctl

_ROOM: Final = 1 << 16
_PATIENCE: Final = 5.0
_TICK: Final = 0.1
_TERMINATING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


Show = Callable[[int, socket.socket], int]
"""Be the dashboard: with the program's terminal, and the end of the feed; return the exit code."""


Session = Callable[[front.Watch], int]
"""Be the session, as whose watch it is told; return its exit code, or die by the program's signal."""


def run(session: Session, show: Show, *, prepare: Callable[[socket.socket], None]) -> int:
    """Run a session behind a dashboard; return the program's exit code, or die by its signal.

    ``prepare`` may ask for something at the feed before the session begins.
    """
    saved = Saved()
    master, slave = pty.openpty()
    copy_size(saved.fd, master)
    theirs, ours = socket.socketpair()
    prepare(ours)
    child = os.fork()
    if child == 0:
        ours.close()
        os.close(master)
        _be_the_session(session, slave, theirs)
    theirs.close()
    os.close(slave)
    dashboard = _start(lambda: show(master, ours))
    ours.close()
    return Guard(saved, master, dashboard, child).serve()


def run_alone(show: Callable[[], int]) -> int:
    """Show a dashboard of a session that is another terminal's; return the exit code."""
    saved = Saved()
    return Guard(saved, None, _start(show), None).serve()


class Saved:
    """The user's terminal, as it was."""

    def __init__(self) -> None:
        self.kind: Final = terminal.look() or terminal.Terminal()
        self.fd: Final = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        self._attributes: Final = termios.tcgetattr(self.fd)

    def enter_screen(self) -> None:
        """Take the terminal's screen."""
        os.write(self.fd, self.kind.enter)

    def leave_screen(self) -> None:
        """Leave the dashboard's screen; once only, as that also puts the cursor back."""
        with contextlib.suppress(OSError):
            os.write(self.fd, self.kind.leave)

    def restore(self) -> None:
        """Make its modes what they were, whoever has changed them."""
        with contextlib.suppress(OSError, termios.error):
            # a terminal that is gone needs nothing
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._attributes)

    def raw(self) -> None:
        """Hand every key on as it is."""
        attributes = termios.tcgetattr(self.fd)
        attributes[0] &= ~(termios.BRKINT | termios.ICRNL | termios.IXON)
        attributes[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
        termios.tcsetattr(self.fd, termios.TCSADRAIN, attributes)


class Guard:
    """Waits for the dashboard and the session."""

    def __init__(self, saved: Saved, master: int | None, dashboard: int, session: int | None) -> None:
        self._saved: Final = saved
        self._master: int | None = master
        self._dashboard: int | None = dashboard
        self._session: int | None = session
        self._status: int = 0
        self._deadline: float | None = None
        """When the program is to have ended."""
        self._plain: bool = False
        """The dashboard was killed: the program has the terminal to itself."""

    def serve(self) -> int:
        """Wait for both to end."""
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*_TERMINATING, signal.SIGCHLD, signal.SIGWINCH):
            signal.signal(number, lambda *_: None)
        # we may be in the background of the terminal that we give back
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        while self._dashboard is not None or self._session is not None:
            self._reap()
            ready, _, _ = select.select([reading, *self._terminals()], [], [], self._time())
            if reading in ready:
                for received in os.read(reading, 256):
                    self._signalled(received)
            self._copy(ready)
        self._saved.restore()
        if self._deadline is not None and os.WIFSIGNALED(self._status):
            # it was ended at the user's wish: nobody has to be told by a signal
            return 128 + os.WTERMSIG(self._status)
        return front.end_as(self._status)

    def _time(self) -> float | None:
        """Return how long there is nothing to do."""
        if self._dashboard is None and self._session is None:
            return 0.0
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0 and self._session is not None:
            # its own session ends with it
            os.kill(self._session, signal.SIGKILL)
        return max(left, _TICK)

    def _terminals(self) -> list[int]:
        return [self._saved.fd, self._master] if self._plain and self._master is not None else []

    def _signalled(self, number: int) -> None:
        if number in _TERMINATING:
            for pid in filter(None, (self._dashboard, self._session)):
                os.kill(pid, number if pid == self._session else signal.SIGTERM)
        elif number == signal.SIGWINCH and self._plain and self._master is not None:
            copy_size(self._saved.fd, self._master)

    def _reap(self) -> None:
        for pid in filter(None, (self._dashboard, self._session)):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended and pid == self._session:
                self._session, self._status, self._plain = None, status, False
            elif ended:
                self._dashboard = None
                self._dashboard_ended(status)

    def _dashboard_ended(self, status: int) -> None:
        if os.WIFSIGNALED(status):
            self._saved.leave_screen()
        self._saved.restore()
        if self._session is None:
            if self._master is None:
                self._status = status if os.WIFEXITED(status) else 0
            return
        if not os.WIFSIGNALED(status):
            self._hang_up()
        else:
            print("mirrord: the dashboard was killed; the program goes on here", file=sys.stderr)
            self._saved.raw()
            self._plain = True

    def _hang_up(self) -> None:
        """End the program as its terminal's end does, and by force where that does not help."""
        if self._master is not None:
            os.close(self._master)
            self._master = None
        self._signalled(signal.SIGTERM)
        self._deadline = time.monotonic() + _PATIENCE

    def _copy(self, ready: list[int]) -> None:
        if self._master is None:
            return
        try:
            if self._master in ready:
                os.write(self._saved.fd, os.read(self._master, _ROOM))
            if self._saved.fd in ready:
                os.write(self._master, os.read(self._saved.fd, _ROOM))
        except OSError:
            # EIO: nobody has the program's terminal open any more
            self._plain = False


def copy_size(source: int, target: int) -> None:
    """Give a terminal the size of another."""
    size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
    fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def _start(show: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        code = 1
        try:
            code = show()
        except KeyboardInterrupt:
            code = 130
        except Exception as error:  # the terminal is not in a state to show a traceback
            sys.stderr.write(f"mirrord: the dashboard failed: {type(error).__name__}: {error}\n")
            if os.environ.get("MIRRORD_TRACEBACK"):
                sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(code)
    return pid


def _be_the_session(session: Session, slave: int, feed: socket.socket) -> NoReturn:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.close(slave)
    code = 125
    try:
        from mirrord.errors import MirrordError

        try:
            code = session(front.Watch(feed, None))
        except MirrordError as error:
            os.write(2, f"mirrord: {error}\n".encode())
            code = error.exit_code
    finally:
        os._exit(code)
