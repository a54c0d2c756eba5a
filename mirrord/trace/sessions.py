"""The sessions that run, asked over their sockets."""

import time
from collections.abc import Iterator
from typing import Final

from mirrord.errors import MirrordError
from mirrord.feed.frames import Kind
from mirrord.feed.models import SessionInfo
from mirrord.session.directory import SessionDirectory
from mirrord.trace.client import Client, running

_PATIENCE: Final = 5.0
_STOP_PATIENCE: Final = 15.0


def infos() -> Iterator[SessionInfo]:
    """Return what each session that answers tells of itself."""
    for _, client in running():
        info = first(client)
        client.close()
        if info is not None:
            yield info


def first(client: Client) -> SessionInfo | None:
    """Return what a session says when one connects, None where it goes before that."""
    deadline = time.monotonic() + _PATIENCE
    while not client.ended and time.monotonic() < deadline:
        for kind, payload in client.frames(_PATIENCE):
            if kind is Kind.INFO:
                return SessionInfo.model_validate_json(payload)
    return None


def find(word: str | None) -> tuple[SessionDirectory, Client]:
    """Return the session whose id begins so, the only one there is for None; raise MirrordError."""
    there = list(running())
    chosen = [one for one in there if word is None or one[0].id.startswith(word)]
    for one in there:
        if one not in chosen or len(chosen) != 1:
            one[1].close()
    if len(chosen) == 1:
        return chosen[0]
    ids = ", ".join(directory.id for directory, _ in there)
    if not there:
        raise MirrordError("no session runs", remedy="start one with mirrord exec")
    if not chosen:
        raise MirrordError(f"there is no session {word}", remedy=f"there are {ids}")
    raise MirrordError("there is more than one such session", remedy=f"name one of {ids}")


def stop(client: Client) -> bool:
    """Ask a session to end, and return whether it did."""
    client.ask(Kind.STOP)
    deadline = time.monotonic() + _STOP_PATIENCE
    while not client.ended and time.monotonic() < deadline:
        for _ in client.frames(deadline - time.monotonic()):
            # what it tells meanwhile is of no interest
            continue
    return client.ended
