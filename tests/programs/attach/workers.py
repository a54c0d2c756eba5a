"""A gunicorn with workers, which prints for each request who asks for what, and what the worker sees.

Also its configuration: ``gunicorn -c python:workers workers:application``.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from looking import look

workers = 3
_started: list[int] = []


def when_ready(server: object) -> None:
    """Say that it listens."""
    print("ready 0", flush=True)


def post_worker_init(worker: object) -> None:
    """Say that a worker is there."""
    print(f"worker {os.getpid()}", flush=True)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer whom the worker's own server answers."""
    print(f"{os.getpid()} {environ['REMOTE_ADDR']} {environ['QUERY_STRING']} {look()}", flush=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"local\n"]
