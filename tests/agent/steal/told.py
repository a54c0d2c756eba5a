"""Whoever owns a link, in tests."""

from dataclasses import dataclass, field

from mirrord_agent.steal.link import Link


@dataclass
class Told:
    """What a link has told."""

    data: bytearray = field(default_factory=bytearray)
    ends: list[str] = field(default_factory=list)
    drained: int = 0

    def link_data(self, link: Link, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def link_eof(self, link: Link) -> None:
        """Keep it."""
        self.ends.append("eof")

    def link_lost(self, link: Link, reason: str) -> None:
        """Keep it."""
        self.ends.append(reason)

    def link_drained(self, link: Link) -> None:
        """Count it."""
        self.drained += 1
