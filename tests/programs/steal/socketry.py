"""WebSockets: ``serve PORT WORD`` answers each message with its word, ``ask URL USER`` prints what comes."""

import contextlib
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve


def answer(connection: ServerConnection, word: str) -> None:
    print("opened", connection.request and connection.request.path, flush=True)
    with contextlib.suppress(ConnectionClosed):
        while True:
            connection.send(f"{word} {len(connection.recv())}")
    print("closed", connection.close_code, flush=True)


def ask(url: str, user: str) -> None:
    with connect(url, additional_headers={"X-User": user}, max_size=None) as connection:
        for message in ("hello", b"\0" * 1_000_000, ""):
            connection.send(message)
            print(connection.recv(), flush=True)
        connection.close(4001)
    try:
        connection.recv()
    except ConnectionClosed as closed:
        print("closed", closed.rcvd and closed.rcvd.code)


if sys.argv[1] == "serve":
    with serve(
        lambda connection: answer(connection, sys.argv[3]), "", int(sys.argv[2]), max_size=None
    ) as server:
        print("ready", flush=True)
        server.serve_forever()
else:
    ask(*sys.argv[2:])
