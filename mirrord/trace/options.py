"""What ``mirrord trace`` was asked for. Standard library only: it is read before the session forks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """How calls are shown."""

    output: str | None = None
    """A file to write to, standard error if None."""
    selection: frozenset[str] = frozenset()
    """Planes, sides and names of calls; everything if empty."""
    json: bool = False
    summary: bool = False
    plain: bool = False
    pcap: str | None = None
    """A file for the target's traffic."""
