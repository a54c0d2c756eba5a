"""A table of the calls, as ``strace -c`` has one, with where they went and how long they took."""

from dataclasses import dataclass, field
from typing import IO, Final

from mirrord.trace.event import Side
from mirrord.trace.events import Call
from mirrord.trace.plain import duration

_HEADS: Final = ("% time", "seconds", "calls", "errors", "local", "remote", "median", "p90", "p99", "syscall")
_LEFT: Final = len(_HEADS) - 1


@dataclass(slots=True)
class Row:
    """One call."""

    calls: int = 0
    errors: int = 0
    remote: int = 0
    seconds: float = 0.0
    durations: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Return the time below which ``share`` of the calls were answered."""
        ordered = sorted(self.durations)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class Summary:
    """Counts calls by name."""

    def __init__(self) -> None:
        self._rows: Final[dict[str, Row]] = {}

    def add(self, call: Call, side: Side) -> None:
        """Count one."""
        row = self._rows.setdefault(call.name, Row())
        row.calls += 1
        row.errors += call.record.failed
        row.remote += side != "local"
        row.seconds += call.seconds
        row.durations.append(call.seconds)

    def write(self, out: IO[str]) -> None:
        """Write the table; the slowest call comes first."""
        total = sum(row.seconds for row in self._rows.values()) or 1.0
        ordered = sorted(self._rows.items(), key=lambda item: -item[1].seconds)
        table = [_HEADS, *(_cells(name, row, total) for name, row in ordered)]
        widths = [max(len(row[column]) for row in table) for column in range(len(_HEADS))]
        for row in table:
            cells = (
                cell.ljust(width) if column == _LEFT else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            out.write("  ".join(cells).rstrip() + "\n")


def _cells(name: str, row: Row, total: float) -> tuple[str, ...]:
    return (
        f"{100 * row.seconds / total:.2f}",
        f"{row.seconds:.6f}",
        str(row.calls),
        str(row.errors or ""),
        str(row.calls - row.remote),
        str(row.remote),
        duration(row.quantile(0.5)),
        duration(row.quantile(0.9)),
        duration(row.quantile(0.99)),
        name,
    )
