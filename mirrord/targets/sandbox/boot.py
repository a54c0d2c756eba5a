"""Start one of the sandbox's processes: ``python -I -S boot.py FD``.

The descriptor gives a message: where modules are found, which of them to run, and what it is to do. So
nothing is in the command line, the environment is free to be the pod's, and no time goes into searching for
installed packages a second time.
"""

import importlib
import json
import os
import sys


def _read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            sys.exit(1)
        data += piece
    return data


def receive(fd: int) -> object:
    """Return the next message from ``fd``: its size in 4 bytes, then JSON. Exits when there is none."""
    return decode(_read(fd, int.from_bytes(_read(fd, 4), "big")))


def decode(data: bytes) -> object:
    """Return the message in ``data``, which is without its size."""
    return json.loads(data)


def encode(message: object) -> bytes:
    """Return a message as :func:`receive` takes it."""
    data = json.dumps(message).encode()
    return len(data).to_bytes(4, "big") + data


def _main() -> None:
    message = receive(int(sys.argv[1]))
    assert isinstance(message, dict)
    sys.path[:] = message["path"]
    importlib.import_module(message["module"]).main(message["task"])


if __name__ == "__main__":
    _main()
