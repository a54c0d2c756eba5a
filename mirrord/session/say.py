"""What mirrord says to its user: single lines on standard error, marked with its name."""

import os
from typing import Final

_STDERR: Final = 2


def say(text: str) -> None:
    """Write one line at once, so that it never mixes with the program's own lines; a closed standard error is
    no error of ours.
    """
    try:
        os.write(_STDERR, f"mirrord: {text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        # the reader of a pipe has gone, or the terminal: there is nobody left to tell
        return


class Sayings:
    """Says each thing once, at the loudness that was asked for."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet: Final = quiet
        self._verbose: Final = verbose
        self._said: Final[set[str]] = set()

    def info(self, text: str) -> None:
        """Say what is normal, unless quiet."""
        if not self._quiet:
            say(text)

    def detail(self, text: str) -> None:
        """Say what only ``-v`` asks for; the same thing only once."""
        if self._verbose and text not in self._said:
            self._said.add(text)
            say(text)

    def warn(self, text: str) -> None:
        """Say, even when quiet, what the user must know; the same thing only once. From any thread."""
        if text not in self._said:
            self._said.add(text)
            say(text)
