"""What a stolen connection is joined to: something to write to, that tells what comes.

Written bytes are kept until they are taken; whoever writes looks at ``pending`` and stops its source.
"""

from typing import Protocol


class Owner(Protocol):
    """Who is told; nothing is told after ``link_lost``, ``close`` or ``reset``."""

    def link_data(self, link: "Link", data: bytes) -> None:
        """Bytes have come."""
        ...

    def link_eof(self, link: "Link") -> None:
        """No more will come."""
        ...

    def link_lost(self, link: "Link", reason: str) -> None:
        """It could not be connected, or was reset."""
        ...

    def link_drained(self, link: "Link") -> None:
        """Bytes that were kept have been taken, or it has closed."""
        ...


class Link(Protocol):
    """A connection."""

    @property
    def pending(self) -> int:
        """How many bytes are kept."""
        ...

    @property
    def closed(self) -> bool:
        """It is over, and everything was taken."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def fin(self) -> None:
        """Send no more, once what was written is taken."""
        ...

    def close(self) -> None:
        """Read no more, and close once what was written is taken."""
        ...

    def reset(self) -> None:
        """Close at once, so that the other side notices."""
        ...

    def read(self, go: bool) -> None:
        """Say whether more may come."""
        ...
