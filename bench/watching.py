"""Rows about being watched: the dashboard, and a line for each call."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.calls import on
from bench.command import MIRRORD, ROOT, UNDER_MIRRORD, WORK, BenchError, compiled, local_file, run, tool
from bench.options import Options
from bench.report import Budget, Line, compared
from bench.sample import Samples, parse
from tests.support.terminal import terminal

_ROUNDS: Final = 5
_DASHBOARD_ROUNDS: Final = 12
"""What is looked for is less than the noise of five."""
_CALLS: Final = 20_000
_TIMES: Final = 3
_PLAIN: Final = Budget(0.2, "≤ 0.2 × strace")
_DASHBOARD: Final = Budget(1.05, "≤ 1.05 × exec")
_SIZE: Final = (40, 120)


def plain(options: Options) -> Iterator[Line]:
    """Measure a program of 20,000 calls, of which each is written to a file."""
    WORK.mkdir(parents=True, exist_ok=True)
    out = str(WORK / "trace")
    program = [compiled("calls"), "openat", str(_CALLS), local_file()]
    strace = [tool("strace"), "-f", "-o", out, "-e", "trace=openat"]
    ours = [MIRRORD, "trace", "-q", "-t", "sandbox", "--plain", "-o", out, "--"]
    wrappers = {
        "native": (),
        "strace -f -o FILE": strace,
        # as scheduled where each has a CPU of its own
        "strace, 2 CPUs": (*on(0), *strace, *on(1)),
        "mirrord exec": UNDER_MIRRORD,
        "mirrord": ours,
    }
    samples = {name: Samples(name) for name in wrappers}
    for _ in range(options.rounds(_ROUNDS)):
        for name, wrapper in wrappers.items():
            samples[name].add(parse(run([*wrapper, *program]))["mean"])
            if name == "mirrord":
                _check_written(Path(out))
    baseline = list(samples).index("strace, 2 CPUs")
    yield from compared("trace --plain -o FILE", list(samples.values()), baseline=baseline, budget=_PLAIN)


def _check_written(path: Path) -> None:
    found = path.read_text().count(f'openat(AT_FDCWD, "{local_file()}"')
    if found < _CALLS:
        raise BenchError(f"{found} of {_CALLS} calls were written")


def dashboard(options: Options) -> Iterator[Line]:
    """Measure the import of a large Python package behind the dashboard."""
    program = [
        compiled("timed"),
        str(_TIMES),
        str(ROOT / ".venv" / "bin" / "python"),
        "-c",
        "import kubernetes",
    ]
    samples = {name: Samples(name) for name in ("mirrord exec", "mirrord")}
    run([*UNDER_MIRRORD, *program])
    for _ in range(options.rounds(_DASHBOARD_ROUNDS)):
        samples["mirrord exec"].add(parse(run([*UNDER_MIRRORD, *program]))["took"])
        samples["mirrord"].add(parse(_at_terminal(program))["took"])
    yield from compared("behind the dashboard", list(samples.values()), budget=_DASHBOARD)


def _at_terminal(program: list[str]) -> str:
    """Return what a program printed that ran behind the dashboard."""
    out = WORK / "took"
    shell = f"{shlex.join(program)} > {shlex.quote(str(out))}; echo is done"
    line = [MIRRORD, "trace", "-q", "-t", "sandbox", "--", "/bin/sh", "-c", shell]
    environment = {**os.environ, "TERM": "xterm-256color"}
    with terminal(line, environment, ROOT, size=_SIZE) as screen:
        screen.expect("is done", seconds=60)
        screen.process.wait(30)
    return out.read_text()
