"""Rows about the pod's clients: what mirroring and stealing add to their requests, beside none of both."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bench import wrk
from bench.command import MIRRORD, PYTHON, BenchError, client, output_of, run, server, started
from bench.crowd import agent_of, descendants, resident
from bench.options import Options
from bench.report import Budget, Line, compared
from bench.sample import Samples, parse

_ROUNDS: Final = 3
_BYTES: Final = 256 * 1024 * 1024
_MANY: Final = Budget(2_000, "≥ 2,000 requests/s", of_ratio=False, at_least=True)
_LATENCIES: Final = 1_000
_REQUESTS: Final = 10_000
_AT_ONCE: Final = 16
_AT_ONCE_ROW: Final = f"requests on {_AT_ONCE} connections"
_POD: Final = "10.244.0.2"
_PORT: Final = "9191"
_URL: Final = f"http://{_POD}:{_PORT}/"
_FILTER: Final = {"MIRRORD_HTTP_HEADER_FILTER": "^x-user: me$"}


@dataclass(frozen=True, slots=True)
class _Way:
    name: str
    options: tuple[str, ...] | None
    """Of the session; None for no session."""
    filtered: bool = False
    user: str = "me"

    @property
    def header(self) -> str:
        """By which the filter tells it."""
        return f"x-user: {self.user}"


_FILTERED: Final = _Way("stolen by a filter", ("--steal",), filtered=True)
_WAYS: Final = (
    _Way("direct", None),
    _Way("mirrored", ()),
    _Way("stolen whole", ("--steal",)),
    _FILTERED,
    _Way("left to the pod by a filter", ("--steal",), filtered=True, user="you"),
)


class _Results:
    """Samples by row and by way."""

    def __init__(self) -> None:
        self._rows: Final[dict[str, dict[_Way, Samples]]] = {}

    def add(self, row: str, way: _Way, values: Iterable[float], unit: str = "s") -> None:
        """Take more measurements."""
        self._rows.setdefault(row, {}).setdefault(way, Samples(way.name, unit)).add(values)

    def lines(self) -> Iterator[Line]:
        """Give the table's lines, each row's compared to its first."""
        for row, samples in self._rows.items():
            budget = _MANY if row == _AT_ONCE_ROW else None
            yield from compared(row, [*samples.values()], budget=budget, budget_of=_FILTERED.name)


def incoming(options: Options) -> Iterator[Line]:
    """Measure small requests, one after another and on many connections at once; large bodies; memory."""
    results = _Results()
    with _sandbox() as box:
        for _ in range(options.rounds(_ROUNDS)):
            for way in _WAYS:
                with _session(box, way) as session:
                    _measure(results, box, way, options)
                    if session is not None:
                        memory = {
                            "agent": agent_of(box.process.pid),
                            "supervisor": _supervisor(session.pid),
                        }
                        for name, pid in memory.items():
                            results.add(f"memory of the {name} then", way, [resident(pid) / 2**20], "MiB")
    yield from results.lines()


def _supervisor(front: int) -> int:
    keeper = next(descendants(front))
    return next(descendants(keeper))


def _measure(results: _Results, box: "_Box", way: _Way, options: Options) -> None:
    results.add("one request at a time", way, _asked(box, way, options.count(_LATENCIES), 1)["took"])
    rates = _asked(box, way, options.count(_REQUESTS), _AT_ONCE)["rate"]
    results.add(_AT_ONCE_ROW, way, rates, "requests/s")
    if shutil.which("wrk"):
        for what, found in wrk.load(_beside(box), _URL, way.header).items():
            results.add(f"wrk, {what}", way, [found], wrk.MEASURED[what])
    size = options.count(_BYTES)
    for kind in ("down", "up"):
        took = parse(run([*_beside(box), *client(kind, _POD, _PORT, str(size), way.header)]))
        results.add(f"a body of {size >> 20} MiB {kind}", way, took[kind], "MB/s")


def _weigh(results: _Results, way: _Way, name: str, size: int) -> None:
    results.add(f"memory of the {name} then", way, [size / 2**20], "MiB")


def _asked(box: "_Box", way: _Way, count: int, at_once: int) -> dict[str, list[float]]:
    asks = client("http", _POD, _PORT, str(count), str(at_once), way.header)
    return parse(run([*_beside(box), *asks]))


@dataclass(frozen=True, slots=True)
class _Box:
    """A sandbox."""

    name: str
    process: "subprocess.Popen[str]"


def _beside(box: _Box) -> list[str]:
    """Return the command that runs another one beside the pod."""
    return [MIRRORD, "sandbox", "run", "--name", box.name, "--"]


@contextlib.contextmanager
def _sandbox() -> Iterator[_Box]:
    """Keep a sandbox up, with a server in its pod."""
    name = f"bench-{os.getpid()}"
    with started([MIRRORD, "sandbox", "up", "--name", name]) as process:
        while "is up" not in (line := output_of(process).readline()):
            if not line:
                raise BenchError("the sandbox did not start")
        with _serving([MIRRORD, "sandbox", "exec", "--name", name, "--"]):
            yield _Box(name, process)
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def _serving(prefix: list[str], *, env: dict[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    with started([*prefix, PYTHON, "-I", "-S", server(), _PORT], env=env) as process:
        if output_of(process).readline() != "ready\n":
            raise BenchError("the server did not start")
        yield process
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def _session(box: _Box, way: _Way) -> Iterator["subprocess.Popen[str] | None"]:
    if way.options is None:
        yield None
        return
    line = [MIRRORD, "exec", "-q", "-t", f"sandbox/{box.name}", *way.options, "--"]
    with _serving(line, env=_FILTER if way.filtered else None) as process:
        yield process
