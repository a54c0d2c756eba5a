"""Rows about the relay at full speed: bulk both ways, and small messages one after another."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final

from bench.command import IN_CLUSTER, UNDER_MIRRORD, client, run
from bench.options import Options
from bench.report import Line, compared
from bench.sample import Samples, parse

_ROUNDS: Final = 5
_BYTES: Final = 256 * 1024 * 1024
_MESSAGES: Final = 2000
_HTTP: Final = ("10.96.0.20", "80")
_ECHO: Final = ("10.96.0.20", "7")
_PIECE: Final = 256 * 1024


def bulk(options: Options) -> Iterator[Line]:
    """Measure bytes per second from and to the cluster's server: from another pod, and under mirrord."""
    size = str(options.count(_BYTES))
    for way in ("down", "up"):
        plain = Samples("plain loopback socket", "MB/s")
        pod = Samples("same server, from another pod", "MB/s")
        ours = Samples("mirrord", "MB/s")
        for _ in range(options.rounds(_ROUNDS)):
            with serving(way) as port:
                plain.add(parse(run(client(way, "127.0.0.1", port, size)))[way])
            pod.add(parse(run([*IN_CLUSTER, *client(way, *_HTTP, size)]))[way])
            ours.add(parse(run([*UNDER_MIRRORD, *client(way, *_HTTP, size)]))[way])
        yield from compared(f"bulk {way}", [plain, pod, ours])


def requests(options: Options) -> Iterator[Line]:
    """Measure small requests on one connection, as gRPC makes them, without any delay."""
    count = str(options.count(_MESSAGES))
    pod, ours = Samples("from another pod"), Samples("mirrord")
    for _ in range(options.rounds(_ROUNDS)):
        pod.add(parse(run([*IN_CLUSTER, *client("request", *_ECHO, count)]))["request"])
        ours.add(parse(run([*UNDER_MIRRORD, *client("request", *_ECHO, count)]))["request"])
    yield from compared("gRPC-like request", [pod, ours])


@contextlib.contextmanager
def serving(way: str) -> Iterator[str]:
    """Keep a plain server for one connection up; return its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve_one, args=(listener, _fast if way == "down" else _swallow))
        thread.start()
        yield str(listener.getsockname()[1])
        thread.join()


def _serve_one(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    sock, _ = listener.accept()
    # a client that was ended is an end
    with sock, contextlib.suppress(ConnectionError):
        serve(sock)


def _fast(sock: socket.socket) -> None:
    """Send what was asked for, without a head."""
    left = int(sock.recv(4096).split(b"n=")[1].split()[0])
    piece = bytes(_PIECE)
    while left:
        left -= sock.send(memoryview(piece)[: min(left, _PIECE)])


def _swallow(sock: socket.socket) -> None:
    """Take a body and say so."""
    room = bytearray(_PIECE)
    size = sock.recv_into(room)
    head, _, rest = bytes(room[:size]).partition(b"\r\n\r\n")
    left = int(head.split(b"Content-Length: ")[1].split()[0]) - len(rest)
    while left > 0:
        left -= sock.recv_into(room)
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
