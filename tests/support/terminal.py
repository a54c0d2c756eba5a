"""A program on a terminal of its own, and somebody who types."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest


class Terminal:
    """The keyboard and the screen of one program."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self._screen = ""

    def type(self, text: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C, ``\\x1a`` Ctrl-Z."""
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, pattern: str, *, seconds: float = 20) -> re.Match[str]:
        """Return the first match in what was written since the last one; fail after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self._screen)):
            if not self._more(deadline):
                pytest.fail(f"no {pattern!r} on the terminal, but:\n{self._screen}")
        self._screen = self._screen[found.end() :]
        return found

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # a master gives EIO when nobody has the slave open any more
            return False
        self._screen += data.decode(errors="replace")
        return bool(data)


@contextlib.contextmanager
def terminal(
    line: Sequence[str], env: Mapping[str, str], cwd: os.PathLike[str], *, size: tuple[int, int] | None = None
) -> Iterator[Terminal]:
    """Run a command as the leader of a session with a terminal; hang up in the end. ``size`` is rows and
    columns.
    """
    master, slave = pty.openpty()
    if size is not None:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *line],
        stdin=slave, stdout=slave, stderr=slave, env=dict(env), cwd=cwd, process_group=0,
    )  # fmt: skip
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        os.close(master)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
