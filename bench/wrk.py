"""wrk, where it is installed: a load of many connections by a program that others know."""

import re
from collections.abc import Sequence
from typing import Final

from bench.command import BenchError, run, tool

MEASURED: Final = {"throughput": "requests/s", "median latency": "s", "p99 latency": "s"}
"""What is measured, and in which unit."""
_LOAD: Final = ("-t1", "-c16", "-d2s", "--latency")
_RATE: Final = re.compile(r"^Requests/sec: +([\d.]+)$", re.MULTILINE)
_LATENCY: Final = r"^ +{}% +([\d.]+)(us|ms|s)$"
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def load(prefix: Sequence[str], url: str, header: str) -> dict[str, float]:
    """Load a server for two seconds; raise BenchError."""
    return parse(run([*prefix, tool("wrk"), *_LOAD, "-H", header, url]))


def parse(text: str) -> dict[str, float]:
    """Return what wrk has printed; raise BenchError where that is not all there."""
    rate = _RATE.search(text)
    latencies = [re.search(_LATENCY.format(share), text, re.MULTILINE) for share in (50, 99)]
    if rate is None or None in latencies or "Socket errors" in text or "Non-2xx" in text:
        raise BenchError(f"wrk says:\n{text}")
    seconds = [float(found[1]) * _SECONDS[found[2]] for found in latencies if found is not None]
    return dict(zip(MEASURED, (float(rate[1]), *seconds), strict=True))
