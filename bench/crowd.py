"""Rows about many connections at once: the time and the memory that they take."""

import contextlib
import os
import select
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.command import UNDER_MIRRORD, BenchError, client, input_of, output_of, started
from bench.options import Options
from bench.report import Budget, Line
from bench.sample import Samples, parse

_ROUNDS: Final = 3
_COUNTS: Final = (1000, 10_000)
_PATIENCE: Final = 120
_ECHO: Final = ("10.96.0.20", "7")
_EACH: Final = Budget(32, "≤ 32 KiB", of_ratio=False)
_AT_REST: Final = Budget(40, "≤ 40 MiB", of_ratio=False)


@dataclass(frozen=True, slots=True)
class Ends:
    """The two processes that carry connections."""

    supervisor: int
    agent: int


def memory(options: Options) -> Iterator[Line]:
    """Measure 1,000 and 10,000 connections opened by one event loop, and what each end needs for one."""
    resting = {name: Samples(f"{name} at rest", "MiB") for name in ("supervisor", "agent")}
    lines: list[Line] = []
    for count in _COUNTS:
        took = Samples("all connected and echoed")
        each = {name: Samples(f"{name}, per connection", "KiB") for name in resting}
        for _ in range(options.rounds(_ROUNDS)):
            _one(count, took, each, resting)
        row = f"{count:,} connections"
        lines += [Line(row, took), *(Line(row, samples, budget=_EACH) for samples in each.values())]
    yield Line("memory", resting["supervisor"])
    yield Line("memory", resting["agent"], budget=_AT_REST)
    yield from lines


def _one(count: int, took: Samples, each: dict[str, Samples], resting: dict[str, Samples]) -> None:
    with started([*UNDER_MIRRORD, *client("crowd", *_ECHO, str(count))]) as process:
        supervisor = int(parse(_line(process))["pid"][1])
        ends = Ends(supervisor, agent_of(supervisor))
        before = _sizes(ends)
        _go_on(process)
        took.add([parse(_line(process))["crowd"][-1]])
        after = _sizes(ends)
        _go_on(process)
        process.wait(_PATIENCE)
    for name, start in before.items():
        resting[name].add([start / 2**20])
        each[name].add([(after[name] - start) / count / 2**10])


def _go_on(process: subprocess.Popen[str]) -> None:
    input_of(process).write("\n")
    input_of(process).flush()


def _line(process: subprocess.Popen[str]) -> str:
    """Return the next line of a command; raise BenchError at its end or when none comes."""
    ready, _, _ = select.select([output_of(process)], [], [], _PATIENCE)
    line = output_of(process).readline() if ready else ""
    if not line:
        process.kill()
        raise BenchError(f"no answer: {process.stderr.read() if process.stderr else ''}")
    return line


def _sizes(ends: Ends) -> dict[str, int]:
    return {"supervisor": resident(ends.supervisor), "agent": resident(ends.agent)}


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes, pages that it shares included (proc_pid_statm(5))."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def agent_of(creator: int) -> int:
    """Return the descendant that serves a session: of those in the pod's network, the agent."""
    ours = os.stat(f"/proc/{creator}/ns/net").st_ino
    for pid in descendants(creator):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            elsewhere = os.stat(f"/proc/{pid}/ns/net").st_ino != ours
            if elsewhere and words[-2:-1] == [b"0"] and _listens(pid):
                return pid
    raise BenchError("the agent's process was not found")


def _listens(pid: int) -> bool:
    """Tell whether a process has entered the pod: one that is only warm has few descriptors."""
    return any(os.readlink(entry).endswith("[eventpoll]") for entry in Path(f"/proc/{pid}/fd").iterdir())


def descendants(pid: int) -> Iterator[int]:
    """Return every process below one."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from descendants(int(child))
