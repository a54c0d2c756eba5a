"""A child for attempts to be made on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def waiting_child() -> Iterator[tuple[int, int]]:
    """Give a process that waits in read(2), and the descriptor that it reads, ours and its own; it ends with
    the block, and is not waited for.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        yield child, reading
    finally:
        os.close(reading)
        os.close(writing)
