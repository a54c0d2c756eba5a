"""What filters see of a request."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head, and its body where it has come in full; None before, or where it is too large."""

    method: str
    target: str
    """Path and query."""
    headers: tuple[str, ...]
    """Lines ``name: value``; those that are not ASCII are left out."""
    body: bytes | None = field(default=None, repr=False)

    @classmethod
    def make(cls, method: bytes, target: bytes, headers: Iterable[Header]) -> Self:
        """Return a request from what HTTP/1 and HTTP/2 have in common."""
        text = target.decode("latin-1")
        if not text.startswith("/") and "://" in text:
            # what a client tells a proxy, and any server has to understand (RFC 9112, 3.2.2)
            text = _origin_form(text)
        lines = tuple(
            f"{name.decode('ascii')}: {value.decode('ascii')}"
            for name, value in headers
            if name.isascii() and value.isascii()
        )
        return cls(method.decode("latin-1"), text, lines)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


def _origin_form(target: str) -> str:
    """Return path and query of an absolute target; what is no URL stays, for a server to refuse."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return target
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
