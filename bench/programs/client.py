"""client.py MODE ARGS: what the bench runs as "the program" where it needs a network; prints "name numbers".

Imports the least that it can, as its start is part of some measurements' preparation.
"""

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable

_PIECE = 256 * 1024
_TALKS = (9, 5, 100)
"""Sizes of what a gRPC library sends for a small call: frame head, message head, message."""


def _connected(host: str, port: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect((host, int(port)))
    return sock


def _print(name: str, values: list[float]) -> None:
    print(name, *(f"{value:.9f}" for value in values), flush=True)


def connect(host: str, port: str, count: str) -> None:
    """Time blocking connects, and how long a non-blocking one keeps its event loop."""
    took: list[float] = []
    held: list[float] = []
    for _ in range(int(count)):
        start = time.perf_counter()
        _connected(host, port).close()
        took.append(time.perf_counter() - start)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            start = time.perf_counter()
            sock.connect_ex((host, int(port)))
            held.append(time.perf_counter() - start)
            select.select([], [sock], [])
    _print("connect", took)
    _print("nonblocking", held)


def fresh(host: str, port: str, count: str) -> None:
    """Time new connections up to the first byte of an answer: some forwarders accept before they know."""
    took: list[float] = []
    for _ in range(int(count)):
        start = time.perf_counter()
        with _connected(host, port) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
            if not sock.recv(1):
                sys.exit("no answer")
        took.append(time.perf_counter() - start)
    _print("fresh", took)


def greeted(host: str, port: str, count: str) -> None:
    """Time new connections up to the first byte of a server that speaks first."""
    took: list[float] = []
    for _ in range(int(count)):
        start = time.perf_counter()
        with _connected(host, port) as sock:
            if not sock.recv(1):
                sys.exit("no greeting")
            took.append(time.perf_counter() - start)
    _print("greeted", took)


def request(host: str, port: str, count: str) -> None:
    """Time small requests on one connection, sent by sendmsg(2) and received by recvmsg(2)."""
    parts = [bytes(size) for size in _TALKS]
    took: list[float] = []
    with _connected(host, port) as sock:
        for _ in range(int(count)):
            start = time.perf_counter()
            sock.sendmsg(parts)
            left = sum(_TALKS)
            while left:
                left -= len(sock.recvmsg(4096)[0])
            took.append(time.perf_counter() - start)
    _print("request", took)


def http(host: str, port: str, count: str, at_once: str, header: str) -> None:
    """Time small HTTP requests on so many connections, the next on each as soon as it has its answer."""
    # on one processor with the server a round trip takes a tenth: the scheduler must not choose
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    request = f"GET / HTTP/1.1\r\nHost: bench\r\n{header}\r\n\r\n".encode()
    poll = select.epoll()
    socks = {sock.fileno(): sock for sock in (_connected(host, port) for _ in range(int(at_once)))}
    sent: dict[int, float] = {}
    took: list[float] = []
    start = time.perf_counter()
    for number, sock in socks.items():
        poll.register(number, select.EPOLLIN)
        sent[number] = time.perf_counter()
        sock.sendall(request)
    while len(took) < int(count):
        for number, _ in poll.poll():
            data = socks[number].recv(65536)
            if not data.endswith(b"ok"):
                sys.exit(f"no answer but {data!r}")
            now = time.perf_counter()
            took.append(now - sent[number])
            sent[number] = now
            socks[number].sendall(request)
    elapsed = time.perf_counter() - start
    _print("took", took)
    _print("rate", [len(took) / elapsed])


def files(folder: str, count: str) -> None:
    """Time opening and reading small files, each for the first time; and looking for absent ones in a listed
    directory.
    """
    took = [_timed(_read, f"{folder}/{number:04}.txt") for number in range(int(count))]
    os.listdir(folder)
    absent = [_timed(_look, f"{folder}/absent-{number}") for number in range(int(count))]
    _print("file", took)
    _print("absent", absent)


def walk(folder: str, count: str) -> None:
    """Time listing a directory and reading its small files one after another: the mean of one file."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(".txt"))[: int(count)]
    start = time.perf_counter()
    for name in names:
        _read(f"{folder}/{name}")
    _print("walk", [(time.perf_counter() - start) / len(names)])


def _timed(work: Callable[[str], None], path: str) -> float:
    start = time.perf_counter()
    work(path)
    return time.perf_counter() - start


def _read(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 65536)
    os.close(fd)


def _look(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.stat(path)


def down(host: str, port: str, size: str, header: str = "Accept: */*") -> None:
    """Time receiving a large body."""
    room = bytearray(_PIECE)
    with _connected(host, port) as sock:
        head = f"GET /bytes?n={size} HTTP/1.1\r\nHost: echo\r\n{header}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        start, got = time.perf_counter(), 0
        while count := sock.recv_into(room):
            got += count
        if got < int(size):
            sys.exit(f"{got} bytes only")
        _print("down", [got / (time.perf_counter() - start) / 1e6])


def up(host: str, port: str, size: str, header: str = "Accept: */*") -> None:
    """Time sending a large body, the answer that sums it up included."""
    piece, left = bytes(_PIECE), int(size)
    lines = ["POST /sum HTTP/1.1", "Host: echo", header, f"Content-Length: {size}", "Connection: close"]
    head = "\r\n".join([*lines, "", ""])
    with _connected(host, port) as sock:
        start = time.perf_counter()
        sock.sendall(head.encode())
        while left:
            left -= sock.send(piece[: min(left, _PIECE)])
        if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
            sys.exit("not summed up")
        _print("up", [int(size) / (time.perf_counter() - start) / 1e6])


def crowd(host: str, port: str, count: str) -> None:
    """Open connections all at once, talk on each, and hold them until told to end."""
    print("pid", os.getpid(), os.getppid(), flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    socks: dict[int, socket.socket] = {}
    poll = select.epoll()
    for _ in range(int(count)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect_ex((host, int(port)))
        socks[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLOUT)
    began = time.perf_counter() - start
    waiting = dict.fromkeys(socks)
    while waiting:
        for number, _ in poll.poll():
            if error := socks[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                sys.exit(f"{len(waiting)} connections left: {os.strerror(error)}")
            socks[number].send(b"x")
            poll.unregister(number)
            del waiting[number]
    waiting = dict.fromkeys(socks)
    for number in waiting:
        poll.register(number, select.EPOLLIN)
    while waiting:
        for number, _ in poll.poll():
            socks[number].recv(1)
            poll.unregister(number)
            del waiting[number]
    _print("crowd", [began, time.perf_counter() - start])
    sys.stdin.readline()


def stream(host: str, port: str, direction: str) -> None:
    """Keep a connection busy in one direction until killed."""
    while True:
        (down if direction == "down" else up)(host, port, str(2**30))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
