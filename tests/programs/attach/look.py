"""Looks around for each line that it reads, while threads of it work; says what of theirs fails."""

import os
import socket
import sys
import threading
import time

from looking import look


def work(port: int) -> None:
    """Use local files and a local server, again and again."""
    while True:
        try:
            os.stat(__file__)
            with open(__file__, "rb") as stream:
                stream.read(10)
            with socket.create_connection(("127.0.0.1", port)) as sock:
                assert sock.recv(2) == b"ok"
            time.sleep(0.005)
        except BaseException as error:
            print(f"failed: {error!r}", flush=True)
            raise


def serve(server: socket.socket) -> None:
    """Answer whoever connects."""
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"ok")


server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(server,), daemon=True).start()
for _ in range(4):
    threading.Thread(target=work, args=(server.getsockname()[1],), daemon=True).start()
print("ready 0", flush=True)
for line in sys.stdin:
    if line.startswith("l"):
        print(look(), flush=True)
