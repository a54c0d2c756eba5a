"""Rows about single calls: what a trap costs, and what a call costs that is not trapped."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from bench.command import (
    TRACED,
    UNDER_MIRRORD,
    UNDER_PTRACE,
    compiled,
    floor,
    local_file,
    proot,
    run,
    strace,
    tool,
)
from bench.options import Options
from bench.report import Budget, Line, compared
from bench.sample import Samples, parse

_COUNT: Final = 4000
_ROUNDS: Final = 7
_TRAPPED: Final = Budget(0.10, "≤ 0.10 × strace")
_TRACED: Final = Budget(0.7, "≤ 0.7 × strace")
_APART: Final = "strace, 2 CPUs"
_UNTRAPPED: Final = Budget(1.03, "≤ 1.03 × native")


def openat(options: Options) -> Iterator[Line]:
    """Measure a trapped openat(2) of a local path, with either engine."""
    for line in _row("openat", "openat", ["openat"], options, _TRAPPED):
        yield replace(line, budget=_TRACED) if line.samples.name == TRACED else line


def stat(options: Options) -> Iterator[Line]:
    """Measure a trapped newfstatat(2) of a local path."""
    yield from _row("stat", "stat", ["newfstatat"], options, _TRAPPED)


def connect(options: Options) -> Iterator[Line]:
    """Measure a trapped connect(2) to a local unix socket, and one to a port on which the program listens."""
    yield from _row("connect, unix", "connect", ["connect"], options, _TRAPPED)
    yield from _row("connect, to itself", "connect-own", ["connect"], options, None, count=100)


def messages(options: Options) -> Iterator[Line]:
    """Measure a small sendmsg(2) and its recvmsg(2) on a connection, as gRPC makes them: two traps."""
    yield from _row("sendmsg+recvmsg", "messages", ["sendmsg", "recvmsg"], options, _TRAPPED)


def untrapped(options: Options) -> Iterator[Line]:
    """Measure calls that no filter is interested in: one that does nothing, and one that does little."""
    for row, way in (("untrapped, lseek", "lseek"), ("untrapped, read 4 KiB", "read")):
        yield from _row(row, way, ["openat"], options, _UNTRAPPED, baseline="native")


def _row(
    row: str,
    way: str,
    calls: Sequence[str],
    options: Options,
    budget: Budget | None,
    *,
    baseline: str = _APART,
    count: int = _COUNT,
) -> Iterator[Line]:
    wrappers = {
        "native": (),
        "strace": strace(*calls),
        # strace's calls alternate with the program's, and cost what waking the other CPU costs: how often the
        # scheduler has both on one differs from machine to machine
        _APART: (*on(0), *strace(*calls), *on(1)),
        "proot": proot(),
        "the kernel's part, in C": floor(*calls),
        "mirrord": UNDER_MIRRORD,
        TRACED: UNDER_PTRACE,
    }
    program, file = compiled("calls"), local_file()
    samples = {name: Samples(name) for name in wrappers}
    for _ in range(options.rounds(_ROUNDS)):
        for name, wrapper in wrappers.items():
            line = [*wrapper, program, way, str(options.count(count)), file]
            samples[name].add(parse(run(line))["median"])
    compared_to = list(samples).index(baseline)
    yield from compared(row, list(samples.values()), baseline=compared_to, budget=budget)


def on(number: int) -> tuple[str, ...]:
    """Return the command that keeps another on one of the CPUs that we may use."""
    cpus = sorted(os.sched_getaffinity(0))
    return (tool("taskset"), "-c", str(cpus[number % len(cpus)]))
