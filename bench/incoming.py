"""Rows about the pod's clients: what mirroring and stealing add to their requests, beside none of both."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.command import MIRRORD, PYTHON, BenchError, client, output_of, run, server, started
from bench.options import Options
from bench.report import Line, compared
from bench.sample import Samples, parse

_ROUNDS: Final = 3
_LATENCIES: Final = 1_000
_REQUESTS: Final = 10_000
_AT_ONCE: Final = 16
_POD: Final = "10.244.0.2"
_PORT: Final = "9191"
_FILTER: Final = {"MIRRORD_HTTP_HEADER_FILTER": "^x-user: me$"}


@dataclass(frozen=True, slots=True)
class _Way:
    name: str
    options: tuple[str, ...] | None
    """Of the session; None for no session."""
    filtered: bool = False
    user: str = "me"


_WAYS: Final = (
    _Way("direct", None),
    _Way("mirrored", ()),
    _Way("stolen whole", ("--steal",)),
    _Way("stolen by a filter", ("--steal",), filtered=True),
    _Way("left to the pod by a filter", ("--steal",), filtered=True, user="you"),
)


def incoming(options: Options) -> Iterator[Line]:
    """Measure small requests, one after another and on many connections at once."""
    one = {way: Samples(way.name) for way in _WAYS}
    many = {way: Samples(way.name, "requests/s") for way in _WAYS}
    with _sandbox() as name, _serving([MIRRORD, "sandbox", "exec", "--name", name, "--"]):
        for _ in range(options.rounds(_ROUNDS)):
            for way in _WAYS:
                with _session(name, way):
                    one[way].add(_asked(name, way, options.count(_LATENCIES), 1)["took"])
                    many[way].add(_asked(name, way, options.count(_REQUESTS), _AT_ONCE)["rate"])
    yield from compared("one request at a time", list(one.values()))
    yield from compared(f"requests on {_AT_ONCE} connections", list(many.values()))


def _asked(name: str, way: _Way, count: int, at_once: int) -> dict[str, list[float]]:
    asks = client("http", _POD, _PORT, str(count), str(at_once), f"x-user: {way.user}")
    return parse(run([MIRRORD, "sandbox", "run", "--name", name, "--", *asks]))


@contextlib.contextmanager
def _sandbox() -> Iterator[str]:
    name = f"bench-{os.getpid()}"
    with started([MIRRORD, "sandbox", "up", "--name", name]) as process:
        while "is up" not in (line := output_of(process).readline()):
            if not line:
                raise BenchError("the sandbox did not start")
        yield name
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def _serving(prefix: list[str], *, env: dict[str, str] | None = None) -> Iterator[None]:
    with started([*prefix, PYTHON, "-I", "-S", server(), _PORT], env=env) as process:
        if output_of(process).readline() != "ready\n":
            raise BenchError("the server did not start")
        yield
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def _session(name: str, way: _Way) -> Iterator[None]:
    if way.options is None:
        yield
        return
    line = [MIRRORD, "exec", "-q", "-t", f"sandbox/{name}", *way.options, "--"]
    with _serving(line, env=_FILTER if way.filtered else None):
        yield
