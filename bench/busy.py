"""The row about traps while a relay runs flat out: nothing that is copied may keep a system call waiting."""

from collections.abc import Iterator, Sequence
from typing import Final

from bench.command import UNDER_MIRRORD, client, compiled, local_file, run
from bench.options import Options
from bench.report import Budget, Line
from bench.sample import Samples, parse
from bench.throughput import serving

_ROUNDS: Final = 3
_COUNT: Final = 20_000
_HTTP: Final = ("10.96.0.20", "80")
_P99: Final = Budget(1e-3, "p99 ≤ 1 ms", of_ratio=False)


def trap(options: Options) -> Iterator[Line]:
    """Measure openat(2) alone and beside a relay at full speed; natively, beside a plain transfer."""
    calls = [compiled("calls"), "openat", str(options.count(_COUNT)), local_file()]
    kinds = ("native, busy", "mirrord, idle", "mirrord, relay down", "mirrord, relay up")
    median = {kind: Samples(f"{kind}: median") for kind in kinds}
    worst = {kind: Samples(f"{kind}: p99") for kind in kinds}
    for _ in range(options.rounds(_ROUNDS)):
        with serving("down") as port:
            _take("native, busy", _beside(calls, client("stream", "127.0.0.1", port, "down")), median, worst)
        _take("mirrord, idle", [*UNDER_MIRRORD, *calls], median, worst)
        for way in ("down", "up"):
            line = [*UNDER_MIRRORD, *_beside(calls, client("stream", *_HTTP, way))]
            _take(f"mirrord, relay {way}", line, median, worst)
    for kind in kinds:
        yield Line("trap beside a relay", median[kind])
        yield Line("trap beside a relay", worst[kind], budget=_P99 if "relay" in kind else None)


def _take(kind: str, line: Sequence[str], median: dict[str, Samples], worst: dict[str, Samples]) -> None:
    printed = parse(run(line))
    median[kind].add(printed["median"])
    worst[kind].add(printed["p99"])


def _beside(line: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return a command that runs one program while another runs, and ends both with the first."""
    script = 'n=$1; shift; o=; while [ "$n" -gt 0 ]; do o="$o $1"; shift; n=$((n-1)); done'
    script += '; $o >/dev/null 2>&1 & p=$!; sleep 1; "$@"; s=$?; kill "$p"; exit "$s"'
    return ["/bin/sh", "-c", script, "sh", str(len(other)), *other, *line]
