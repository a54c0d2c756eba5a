"""Rows about a link with a round trip of 20 ms: what waits for it, and how often."""

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.command import UNDER_MIRRORD, client, run
from bench.options import Options
from bench.report import Budget, Line
from bench.sample import Samples, parse
from tests.support.relay import Relay, relay

_ROUNDS: Final = 3
_COUNT: Final = 10
_ONE_WAY: Final = 0.010
_SLACK: Final = 0.2
"""Of a round trip: what the relay's timer and the work itself may add to whole round trips."""
_ECHO: Final = ("10.96.0.20", "7")
_FOLDER: Final = "/app/data"
_MANY: Final = "1000"


def latency(options: Options) -> Iterator[Line]:
    """Measure connects, requests and files over a link that takes 20 ms there and back."""
    trip = Samples("the link alone")
    kinds = {
        "connect": Samples("connect, blocking"),
        "nonblocking": Samples("connect, non-blocking"),
        "request": Samples("114 bytes sent and echoed"),
        "file": Samples("open + read, small file"),
        "absent": Samples("stat, absent file"),
        "walk": Samples("open + read, each of 1,000 files"),
    }
    for _ in range(options.rounds(_ROUNDS)):
        count = str(options.count(_COUNT))
        with _slow() as slow:
            trip.add(_round_trips(slow))
        for arguments in (
            ("connect", *_ECHO, count),
            ("request", *_ECHO, count),
            ("files", _FOLDER, count),
            ("walk", _FOLDER, _MANY),
        ):
            with _slow() as slow:
                printed = parse(run([*UNDER_MIRRORD, *client(*arguments)], env=slow.env))
            for name, values in printed.items():
                kinds[name].add(values)
    yield Line("link of 20 ms", trip)
    budgets = {name: _trips(1) for name in ("connect", "request", "file")}
    budgets |= {"nonblocking": _trips(0), "absent": _trips(0)}
    for name, samples in kinds.items():
        yield Line("link of 20 ms", samples, trip, budgets.get(name))


def _trips(number: int) -> Budget:
    return Budget(number + _SLACK, f"{number} round trip{'s' * (number != 1)}")


@contextlib.contextmanager
def _slow() -> Iterator[Relay]:
    """Keep a relay up for one connection: it reads along, which it can do for one only."""
    with tempfile.TemporaryDirectory() as folder, relay(Path(folder, "link"), delay=_ONE_WAY) as slow:
        yield slow


def _round_trips(slow: Relay) -> list[float]:
    """Time one byte there and back through the relay, to a socket that echoes."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(folder, "echo"))
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=_echo_once, args=(listener,))
        thread.start()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(slow.path))
            sock.sendall(path.encode() + b"\n")
            took = [_round_trip(sock) for _ in range(_COUNT)]
        thread.join()
    return took


def _round_trip(sock: socket.socket) -> float:
    start = time.perf_counter()
    sock.sendall(b"x")
    sock.recv(1)
    return time.perf_counter() - start


def _echo_once(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        while data := sock.recv(1):
            sock.sendall(data)
