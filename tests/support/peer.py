"""The far end of tests about how connections end: `peer.py WAY [SIZE]`, in the sandbox beside the pod.

Prints its port, then serves one connection and prints what it saw.
"""

import errno
import hashlib
import os
import select
import socket
import struct
import sys
from typing import Final

_PIECE: Final = 1 << 16
_NOW: Final = struct.pack("ii", 1, 0)


def read_all(connection: socket.socket) -> str:
    """Read to the end; tell how many bytes came and how they ended."""
    total = 0
    try:
        while data := connection.recv(_PIECE):
            total += len(data)
    except OSError as error:
        return f"read {total} then {errno.errorcode[error.errno or 0]}"
    return f"read {total} then end"


def half_close(connection: socket.socket) -> str:
    """Answer after the other end has ended its half."""
    seen = read_all(connection)
    connection.sendall(b"y" * 500000)
    return seen


def their_half_close(connection: socket.socket) -> str:
    """End our half first, then read on."""
    connection.sendall(b"z" * 500000)
    connection.shutdown(socket.SHUT_WR)
    return read_all(connection)


def reset(connection: socket.socket) -> str:
    """Wait for the other end's reset."""
    connection.sendall(b"x")
    return read_all(connection)


def their_reset(connection: socket.socket) -> str:
    """Reset the connection, once it is known to be used: earlier the connect itself might fail."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
    return "reset"


def swallow(connection: socket.socket, *, pause: float = 0.0) -> str:
    """Take everything, then answer one byte; tell the hash."""
    digest = hashlib.sha256()
    while data := connection.recv(_PIECE):
        digest.update(data)
        select.select([], [], [], pause)
    connection.sendall(b".")
    return digest.hexdigest()


def slowly(connection: socket.socket) -> str:
    """Take everything with pauses."""
    return swallow(connection, pause=0.001)


def pour(connection: socket.socket) -> str:
    """Send as many bytes as the second argument says; tell the hash."""
    digest, left = hashlib.sha256(), int(sys.argv[2])
    noise = os.urandom(_PIECE)
    while left > 0:
        piece = (left.to_bytes(8) + noise)[: min(_PIECE, left)]
        digest.update(piece)
        connection.sendall(piece)
        left -= len(piece)
    return digest.hexdigest()


def hold(connection: socket.socket) -> str:
    """Read nothing, until our standard input ends; then tell how the connection ended."""
    sys.stdin.read()
    return read_all(connection)


def closed(connection: socket.socket) -> str:
    """Wait for the other end to close, however it does."""
    connection.sendall(b"x")
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    poll.poll()
    return "closed"


_WAYS: Final = {
    "half-close": half_close,
    "their-half-close": their_half_close,
    "reset": reset,
    "their-reset": their_reset,
    "swallow": swallow,
    "slowly": slowly,
    "pour": pour,
    "hold": hold,
    "closed": closed,
}


def main() -> None:
    """Serve one connection."""
    with socket.create_server(("10.244.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
    with connection:
        seen = _WAYS[sys.argv[1]](connection)
    print(seen, flush=True)


if __name__ == "__main__":
    main()
