"""Run the tests marked ``soak`` in full, and the whole behaviour suite with both engines; write how they went
to docs/soak.md. Called by ``make soak``.
"""

import datetime
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
REPORT: Final = ROOT / "docs" / "soak.md"
LIMIT: Final = 3600
"""Seconds that one test may take."""
NOTHING_COLLECTED: Final = 5
RUNS: Final = (
    ({"MIRRORD_SOAK": "1"}, ["-m", "soak"]),
    ({"MIRRORD_ENGINES": "both"}, ["-m", "not soak", "tests/behaviour"]),
)
"""What is run, one after the other: variables and pytest's options."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one test went, and the numbers that it recorded with ``record_property``."""

    name: str
    outcome: str
    seconds: float
    numbers: tuple[str, ...]

    def __str__(self) -> str:
        return f"| `{self.name}` | {self.outcome} | {self.seconds:.1f} | {', '.join(self.numbers)} |"


def main() -> int:
    """Return pytest's exit status, the worst one; the report is written whether or not the tests pass."""
    with tempfile.TemporaryDirectory() as folder:
        results = [Path(folder, f"{number}.xml") for number in range(len(RUNS))]
        status = max(_run(*run, file) for run, file in zip(RUNS, results, strict=True))
        if status == NOTHING_COLLECTED:
            print("no test is marked soak", file=sys.stderr)
            return status
        found = [row for file in results if file.exists() for row in rows(file)]
        if not found:
            return status
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(_report(found))
    print(f"written: {REPORT.relative_to(ROOT)}")
    return status


def _run(variables: Mapping[str, str], options: Sequence[str], results: Path) -> int:
    # the form that has what tests record
    form = ["-o", "junit_family=xunit1", f"--junit-xml={results}"]
    line = ["-q", *options, f"--timeout={LIMIT}", *form]
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-m", "pytest", *line], cwd=ROOT, env=environment).returncode


def rows(results: Path) -> Iterator[Row]:
    """Read what pytest wrote in JUnit's format, in the order of the run."""
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name', '')}".removeprefix("tests.")
        numbers = (f"{one.get('name')} {one.get('value')}" for one in case.iter("property"))
        yield Row(name, _outcome(case), float(case.get("time", "0")), tuple(numbers))


def _outcome(case: ElementTree.Element) -> str:
    for tag, outcome in (("error", "error"), ("failure", "failed"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return outcome
    return "passed"


def _report(found: list[Row]) -> str:
    today = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"Linux {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs, {_memory()} GiB"
    return "\n".join(
        [
            "# Soak",
            "",
            "The stress tests with their full repetitions, and all of `tests/behaviour` with both engines,",
            "written by `make soak`.",
            "",
            f"{today}, commit {_commit()}, {machine}, Python {platform.python_version()}.",
            "",
            "| test | outcome | seconds | numbers |",
            "|---|---|---:|---|",
            *map(str, found),
            "",
        ]
    )


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
