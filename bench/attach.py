"""The rows about how long a process is stopped by ``mirrord attach``."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mirrord_seccomp import bpf
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch

from bench.command import PYTHON, output_of, started
from bench.options import Options
from bench.report import Budget, Line
from bench.sample import Samples
from mirrord.syscall import Handler
from mirrord.tracer.attach import attach
from mirrord.tracer.followed import FollowingEngine

_ROUNDS: Final = 30
_PROGRAM: Final = """
import sys, threading
for _ in range(int(sys.argv[1]) - 1):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


def stopped(options: Options) -> Iterator[Line]:
    """Measure the time in which no thread of a process runs while it gets its filter, a new process each
    time; by the engine ptrace, the longest time for which any of its threads is stopped.
    """
    for engine, once in (("", _by_listener), (", --engine ptrace", _by_tracing)):
        for threads in (1, 50, 500):
            samples = Samples(f"{threads} thread{'s' * (threads > 1)}{engine}")
            for _ in range(options.rounds(_ROUNDS)):
                samples.add([_once(threads, once)])
            yield Line("attach, stopped", samples, budget=Budget(0.02, "≤ 20 ms", of_ratio=False))


def _once(threads: int, attach_to: Callable[[int], float]) -> float:
    with started([PYTHON, "-I", "-S", "-c", _PROGRAM, str(threads)]) as process:
        output_of(process).readline()
        seconds = attach_to(process.pid)
        process.kill()
    return seconds


def _by_listener(pid: int) -> float:
    made = attach(pid, bpf.compile([Rule("getppid", Action.NOTIFY)], current_arch()))
    os.close(made.listener)
    os.close(made.process)
    return made.stopped


def _by_tracing(pid: int) -> float:
    return asyncio.run(_traced(pid))


async def _traced(pid: int) -> float:
    engine = FollowingEngine(asyncio.get_running_loop(), skipped=frozenset(), warn=print)
    found = await engine.attach(pid, lambda: (), _Nothing(), ended=_ignored, failed=_raised)
    await engine.let_go()
    assert found.stopped is not None
    return found.stopped


@dataclass(frozen=True, slots=True)
class _Nothing:
    """A table without a call."""

    filter: bytes = b""
    handlers: Mapping[int, Handler] = field(default_factory=dict)
    traps: Mapping[int, Sequence[Rule]] = field(default_factory=dict)


def _ignored() -> None:
    """Take note of the end, which is ours."""


def _raised(error: Exception) -> None:
    raise error
