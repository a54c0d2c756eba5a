"""Rows about how long a user waits before anything happens."""

import time
from collections.abc import Iterator, Sequence
from typing import Final

from bench.command import MIRRORD, PYTHON, UNDER_MIRRORD, run
from bench.options import Options
from bench.report import Budget, Line
from bench.sample import Samples

_ROUNDS: Final = 15


def startup(options: Options) -> Iterator[Line]:
    """Measure ``--help`` and a session in a private sandbox that runs ``true``, to the end of both."""
    lines: dict[str, Sequence[str]] = {
        "python -c pass": [PYTHON, "-I", "-S", "-c", "pass"],
        "mirrord --help": [MIRRORD, "--help"],
        "mirrord exec -t sandbox -- true": [*UNDER_MIRRORD, "true"],
    }
    samples = {name: Samples(name) for name in lines}
    for _ in range(options.rounds(_ROUNDS)):
        for name, line in lines.items():
            start = time.perf_counter()
            run(line)
            samples[name].add([time.perf_counter() - start])
    plain, help_, session = samples.values()
    yield Line("start-up", plain)
    yield Line("start-up", help_, budget=Budget(0.1, "≤ 0.1 s", of_ratio=False))
    yield Line("start-up", session, budget=Budget(0.5, "≤ 0.5 s to start", of_ratio=False))
