"""The row about how long a process is stopped by ``mirrord attach``."""

import os
from collections.abc import Iterator
from typing import Final

from mirrord_seccomp import bpf
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch

from bench.command import PYTHON, output_of, started
from bench.options import Options
from bench.report import Budget, Line
from bench.sample import Samples
from mirrord.tracer.attach import attach

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
    time.
    """
    for threads in (1, 50, 500):
        samples = Samples(f"{threads} thread{'s' * (threads > 1)}")
        for _ in range(options.rounds(_ROUNDS)):
            samples.add([_once(threads)])
        yield Line("attach, stopped", samples, budget=Budget(0.02, "≤ 20 ms", of_ratio=False))


def _once(threads: int) -> float:
    filter_ = bpf.compile([Rule("getppid", Action.NOTIFY)], current_arch())
    with started([PYTHON, "-I", "-S", "-c", _PROGRAM, str(threads)]) as process:
        output_of(process).readline()
        made = attach(process.pid, filter_)
        process.kill()
        os.close(made.listener)
        os.close(made.process)
    return made.stopped
