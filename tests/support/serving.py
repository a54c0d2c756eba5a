"""A server that runs in a session, and what it and the session say meanwhile."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Final

from .running import Runner
from .waiting import until

_PATIENCE: Final = 40


class Serving:
    """One session; both of its streams are read all the time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process: Final = process
        self.lines: Final[list[str]] = []
        """What the program has printed."""
        self.said: Final[list[str]] = []
        """What came to standard error: mirrord's lines and the program's."""
        self._readers: Final = [
            threading.Thread(target=_read, args=(stream, lines))
            for stream, lines in ((process.stdout, self.lines), (process.stderr, self.said))
        ]
        for reader in self._readers:
            reader.start()

    def wait(self, pattern: str, *, count: int = 1) -> list[re.Match[str]]:
        """Wait for so many lines, of either stream, in which the pattern is found; return them all."""

        def found() -> list[re.Match[str]]:
            matches = [match for line in self._all() if (match := re.search(pattern, line))]
            return matches if len(matches) >= count else []

        return until(
            f"{count} × {pattern}", found, seconds=_PATIENCE, describe=lambda: "\n".join(self._all())
        )

    def _all(self) -> list[str]:
        return [*self.lines, *self.said]

    def give_input_end(self) -> None:
        """End what the program reads."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> int:
        """Wait for the session's own end, and for all that it has said; return its exit code."""
        code = self.process.wait(timeout=_PATIENCE)
        for reader in self._readers:
            reader.join(timeout=_PATIENCE)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the command, as a user does, and wait for its end."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.end()


def _read(stream: IO[str] | None, lines: list[str]) -> None:
    assert stream is not None
    for line in stream:
        lines.append(line.rstrip("\n"))


@contextlib.contextmanager
def serving(
    runner: Runner, line: Sequence[str], *, env: Mapping[str, str] | None = None
) -> Iterator[Serving]:
    """Start a session, and stop it in the end if it still runs."""
    with runner.start(line, env=env) as process:
        session = Serving(process)
        try:
            yield session
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            for reader in session._readers:
                reader.join()
