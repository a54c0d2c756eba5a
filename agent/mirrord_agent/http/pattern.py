"""The regular expressions of filters, as the existing mirrord's users write them (Rust's ``fancy-regex``).

They run in the path of the pod's own traffic, so each search may take a moment only.
"""

from typing import Final

import regex

_PATIENCE: Final = 0.05
"""Seconds for one search; one that backtracks longer does not match."""


class Pattern:
    """A compiled regular expression that ignores case; the text is kept to be sent."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str) -> None:
        """Compile; raise ValueError with a sentence where it is none."""
        self.text: Final = text
        try:
            self._compiled: Final = regex.compile(text, regex.IGNORECASE)
        except (regex.error, OverflowError, RecursionError) as error:
            raise ValueError(f"`{text}` is not a regular expression ({error})") from None

    def search(self, subject: str) -> bool:
        """Return whether it is found; what takes too long is not."""
        try:
            return self._compiled.search(subject, timeout=_PATIENCE) is not None
        except TimeoutError:
            return False
