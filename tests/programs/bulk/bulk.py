"""Much data one way: `bulk.py up|down HOST PORT SIZE PAUSE`. Prints the SHA-256 of what was sent or received.

PAUSE, in seconds, comes before each piece that is read. It begins when a line comes on standard input, and
ends when that ends.
"""

import hashlib
import os
import socket
import sys
import time
from collections.abc import Iterator

PIECE = 1 << 18


def pieces(size: int) -> Iterator[bytes]:
    """Yield so many bytes, no two pieces the same."""
    noise = os.urandom(PIECE)
    for number, at in enumerate(range(0, size, PIECE)):
        yield (number.to_bytes(8, "big") + noise)[: min(PIECE, size - at)]


def up(connection: socket.socket, size: int) -> str:
    """Send; return the hash once the other end has read everything."""
    digest = hashlib.sha256()
    for piece in pieces(size):
        digest.update(piece)
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
    return digest.hexdigest()


def down(connection: socket.socket, pause: float) -> str:
    """Receive to the end."""
    digest = hashlib.sha256()
    while data := connection.recv(PIECE):
        digest.update(data)
        if pause:
            time.sleep(pause)
    return digest.hexdigest()


def main(way: str, host: str, port: str, size: str, pause: str) -> None:
    """Move the data."""
    with socket.create_connection((host, int(port))) as connection:
        print("connected", flush=True)
        sys.stdin.readline()
        print(up(connection, int(size)) if way == "up" else down(connection, float(pause)), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
