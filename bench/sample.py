"""What was measured: samples, their median and spread, and how they compare."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@dataclass(slots=True)
class Samples:
    """Measurements of one thing, in seconds or another ``unit``."""

    name: str
    unit: str = "s"
    values: list[float] = field(default_factory=list)

    def add(self, values: Iterable[float]) -> None:
        """Take more measurements."""
        self.values.extend(values)

    @property
    def median(self) -> float:
        """Return the middle value; raise ValueError without any."""
        if not self.values:
            raise ValueError(f"nothing was measured of {self.name}")
        return statistics.median(self.values)

    @property
    def text(self) -> str:
        """Return the median for people."""
        return quantity(self.median, self.unit)

    @property
    def spread(self) -> str:
        """Return the middle four fifths for people, as parts of the median."""
        if len(self.values) < 2 or not self.median:
            return ""
        low, high = (quantile(self.values, share) / self.median for share in (0.1, 0.9))
        return f"{low:.2f}–{high:.2f}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of them lie, interpolated."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def quantity(value: float, unit: str) -> str:
    """Return a value with three digits and its unit; seconds with the one that fits."""
    if unit != "s":
        return f"{_digits(value)} {unit}"
    for size, name in _UNITS:
        if abs(value) >= size or name == "ns":
            return f"{_digits(value / size)} {name}"
    raise AssertionError("the smallest unit takes every value")


def _digits(value: float) -> str:
    if not value:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def parse(output: str) -> dict[str, list[float]]:
    """Read what the programs of this bench print: a name and numbers per line; raise ValueError for none."""
    found: dict[str, list[float]] = {}
    for line in filter(str.strip, output.splitlines()):
        name, *numbers = line.split()
        found.setdefault(name, []).extend(float(number) for number in numbers)
    if not found:
        raise ValueError("the program printed nothing")
    return found
