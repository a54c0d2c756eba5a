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
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """How tests went, and the numbers that they recorded with ``record_property``."""

    name: str
    outcomes: Counter[str]
    seconds: float
    numbers: tuple[str, ...]

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        return f"| `{self.name}` | {outcomes} | {self.seconds:.1f} | {', '.join(self.numbers)} |"


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit status, the worst one; the report is written whether or not the tests pass.

    Given files of results, in JUnit's format, report on those: all of it takes hours, and can be run in
    parts.
    """
    if arguments:
        _write(Path(argument) for argument in arguments)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        results = [Path(folder, f"{number}.xml") for number in range(len(RUNS))]
        status = max(_run(*run, file) for run, file in zip(RUNS, results, strict=True))
        if status == NOTHING_COLLECTED:
            print("no test is marked soak", file=sys.stderr)
            return status
        _write(file for file in results if file.exists())
    return status


def _write(files: Iterable[Path]) -> None:
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(_report(list(grouped(row for file in files for row in rows(file)))))
    print(f"written: {REPORT.relative_to(ROOT)}")


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
        yield Row(name, Counter([_outcome(case)]), float(case.get("time", "0")), tuple(numbers))


def grouped(found: Iterable[Row]) -> Iterator[Row]:
    """Put those of one test and one engine into one row, but for those that have recorded something."""
    groups: dict[str, Row] = {}
    for row in found:
        name = row.name if row.numbers else _family(row.name)
        before = groups.get(name, Row(name, Counter(), 0.0, ()))
        numbers = before.numbers + row.numbers
        groups[name] = Row(name, before.outcomes + row.outcomes, before.seconds + row.seconds, numbers)
    yield from groups.values()


def _family(name: str) -> str:
    test, _, parameters = name.partition("[")
    engine = next((word for word in ("notify", "ptrace") if word in parameters), "")
    return f"{test}[{engine}]" if engine else test


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
            "| test | outcomes | seconds | numbers |",
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
    sys.exit(main(sys.argv[1:]))
