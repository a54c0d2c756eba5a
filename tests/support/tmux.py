"""A terminal in tmux: keys go in, and what is on the screen comes out."""

import contextlib
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .needs import tool
from .waiting import until


@dataclass(frozen=True, slots=True)
class Tmux:
    """A server of its own with one window."""

    socket: str

    def _run(self, *words: str) -> str:
        line = [tool("tmux"), "-f", "/dev/null", "-L", self.socket, *words]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names of them."""
        self._run("send-keys", *names)

    def type(self, text: str) -> None:
        """Press the keys of a text."""
        self._run("send-keys", "-l", text)

    def screen(self) -> str:
        """Return what is to be seen."""
        return self._run("capture-pane", "-p")

    def styled(self) -> str:
        """Return what is to be seen, with the colours."""
        return self._run("capture-pane", "-p", "-e")

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def format(self, name: str) -> str:
        """Return one of tmux's variables."""
        return self._run("display-message", "-p", f"#{{{name}}}").strip()

    def expect(self, pattern: str, *, seconds: float = 30) -> re.Match[str]:
        """Return the first match on the screen, once there is one."""
        found = until(
            f"{pattern!r} on the screen",
            lambda: list(re.finditer(pattern, self.screen(), re.MULTILINE)),
            seconds=seconds,
            describe=self.screen,
        )
        return found[0]

    def expect_gone(self, pattern: str, *, seconds: float = 30) -> None:
        """Wait until nothing on the screen matches."""
        until(
            f"no {pattern!r} on the screen",
            lambda: not re.search(pattern, self.screen(), re.MULTILINE),
            seconds=seconds,
            describe=self.screen,
        )


@contextlib.contextmanager
def tmux(
    line: Sequence[str], env: Mapping[str, str], cwd: os.PathLike[str], *, columns: int, lines: int
) -> Iterator[Tmux]:
    """Run a command in a window of that size."""
    one = Tmux(f"test-{secrets.token_hex(4)}")
    start = [tool("tmux"), "-f", "/dev/null", "-L", one.socket, "new-session", "-d"]
    size = ["-x", str(columns), "-y", str(lines)]
    # the login shell of who runs the tests may be none that runs a command
    subprocess.run([*start, *size, shlex.join(line)], env={**env, "SHELL": "/bin/sh"}, cwd=cwd, check=True)
    try:
        yield one
    finally:
        subprocess.run([tool("tmux"), "-L", one.socket, "kill-server"], capture_output=True)
