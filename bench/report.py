"""The table: one line per thing that was measured, in groups of what is compared."""

import datetime
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.sample import Samples

_HEADS: Final = ("row", "measured", "median", "spread", "ratio", "budget", "")
_BEGIN: Final = "<!-- results: written by `python -m bench --record` -->"
_END: Final = "<!-- end of results -->"


@dataclass(frozen=True, slots=True)
class Budget:
    """What design 4 allows: a ratio, or a value in the samples' unit."""

    limit: float
    text: str
    of_ratio: bool = True
    at_least: bool = False

    def verdict(self, value: float) -> str:
        """Return "met" or by how much it was missed."""
        if value >= self.limit if self.at_least else value <= self.limit:
            return "met"
        return f"missed, {value / self.limit:.2f} × the budget"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: samples, compared to others if there are any."""

    row: str
    samples: Samples
    to: Samples | None = None
    budget: Budget | None = None

    @property
    def ratio(self) -> float | None:
        """Return the medians' ratio."""
        return None if self.to is None else self.samples.median / self.to.median

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        ratio = "" if self.ratio is None or self.to is None else f"{self.ratio:.3g} × {self.to.name}"
        budget, verdict = "", ""
        if self.budget is not None:
            value = self.ratio if self.budget.of_ratio else self.samples.median
            budget, verdict = self.budget.text, "" if value is None else self.budget.verdict(value)
        return (self.row, self.samples.name, self.samples.text, self.samples.spread, ratio, budget, verdict)


def compared(
    row: str,
    samples: Sequence[Samples],
    *,
    baseline: int = 0,
    budget: Budget | None = None,
    budget_of: str = "mirrord",
) -> list[Line]:
    """Return lines that compare samples to one of them; the budget is for the one called ``budget_of``."""
    base = samples[baseline]
    return [
        Line(row, one, None if one is base else base, budget if one.name == budget_of else None)
        for one in samples
    ]


def table(lines: Sequence[Line]) -> str:
    """Return a table that is both aligned text and Markdown."""
    rows = [_HEADS, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def machine() -> str:
    """Return when and on what this ran, and what else ran there."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    now = datetime.datetime.now(datetime.UTC)
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, {os.cpu_count()} × {processor}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load average at the end {load}"
    )


def record(path: Path, lines: Sequence[Line]) -> None:
    """Put the results between the two marks of a document; rows that did not run keep their last result."""
    text = path.read_text()
    new = {line.row for line in lines}
    old = [row for row in _recorded(text) if row.split("|")[1].strip() not in new]
    rows = table(lines).splitlines()
    results = "\n".join([_BEGIN, "", machine() + ":", "", *rows, *old, "", _END])
    pattern = re.compile(f"{re.escape(_BEGIN)}.*{re.escape(_END)}", re.DOTALL)
    path.write_text(pattern.sub(lambda _: results, text))


def _recorded(text: str) -> list[str]:
    between = text.partition(_BEGIN)[2].partition(_END)[0]
    return [line for line in between.splitlines() if line.startswith("| ")][1:]
