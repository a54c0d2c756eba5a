"""Rows about whole programs, their own start and end included, the session's not."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.command import ROOT, TRACED, UNDER_MIRRORD, UNDER_PTRACE, WORK, compiled, run, tool
from bench.options import Options
from bench.report import Budget, Line, compared
from bench.sample import Samples, parse

_ROUNDS: Final = 5
_AT_ONCE: Final = 2
_COMMITS: Final = 400
_FILES: Final = 40
_TREE: Final = "/usr/share"
_WRAPPERS: Final[Mapping[str, Sequence[str]]] = {"native": (), "mirrord": UNDER_MIRRORD}
_TRACED: Final = Budget(1.6, "≤ 1.6 × native")


def kubernetes(options: Options) -> Iterator[Line]:
    """Measure the import of a large Python package, with either engine."""
    python = str(ROOT / ".venv" / "bin" / "python")
    command = [python, "-c", "import kubernetes"]
    wrappers = {**_WRAPPERS, TRACED: UNDER_PTRACE}
    budget = Budget(1.25, "≤ 1.25 × native")
    for line in _row("import kubernetes", command, options, budget, wrappers=wrappers):
        yield replace(line, budget=_TRACED) if line.samples.name == TRACED else line


def git(options: Options) -> Iterator[Line]:
    """Measure ``git log --stat`` over 300 commits."""
    line = [tool("git"), "-C", str(_repository()), "--no-pager", "log", "--stat", "-300"]
    yield from _row("git log --stat -300", line, options, Budget(1.15, "≤ 1.15 × native"))


def executions(options: Options) -> Iterator[Line]:
    """Measure a shell that runs a small program 200 times."""
    line = ["/bin/sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done"]
    yield from _row("200 × /bin/true", line, options, Budget(1.3, "≤ 1.3 × native"))


def find(options: Options) -> Iterator[Line]:
    """Measure a walk over a large tree, which makes a trapped call per directory."""
    yield from _row(f"find {_TREE}", [tool("find"), _TREE, "-newer", "/etc/hostname"], options, None)


def _row(
    row: str,
    line: Sequence[str],
    options: Options,
    budget: Budget | None,
    *,
    wrappers: Mapping[str, Sequence[str]] = _WRAPPERS,
) -> Iterator[Line]:
    timed = compiled("timed")
    samples = {name: Samples(name) for name in wrappers}
    # the first run fills the page cache for all
    run([timed, "1", *line])
    for _ in range(options.rounds(_ROUNDS)):
        for name, wrapper in wrappers.items():
            samples[name].add(parse(run([*wrapper, timed, str(_AT_ONCE), *line], timeout=120))["took"])
    yield from compared(row, list(samples.values()), budget=budget)


def _repository() -> Path:
    """Return a repository with some hundred commits, made once by ``git fast-import``."""
    place = WORK / "repository"
    if (place / "complete").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    run([tool("git"), "init", "--quiet", str(place)])
    history = place / "history"
    history.write_text("".join(_commit(number) for number in range(1, _COMMITS + 1)))
    run(["/bin/sh", "-c", f"git -C '{place}' fast-import --quiet < '{history}'"], env={"LC_ALL": "C"})
    history.unlink()
    (place / "complete").touch()
    return place


def _commit(number: int) -> str:
    """Return one commit that changes some files, in the format of git-fast-import(1)."""
    changes = "".join(_change(number, file) for file in range(_FILES) if (number + file) % 4 == 0)
    when = f"Some One <one@example.com> {1_700_000_000 + number * 60} +0000"
    head = os.linesep.join(["commit refs/heads/master", f"mark :{number}", f"committer {when}"])
    parent = f"from :{number - 1}\n" if number > 1 else ""
    return f"{head}\ndata 8\nchange\n\n{parent}{changes}\n"


def _change(number: int, file: int) -> str:
    text = "".join(f"line {line} as of {number if line % 7 == number % 7 else 0}\n" for line in range(120))
    return f"M 644 inline folder{file % 8}/file{file}.txt\ndata {len(text)}\n{text}\n"
