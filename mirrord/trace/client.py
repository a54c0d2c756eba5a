"""The watcher's end of a session's socket."""

import os
import select
import socket
from collections.abc import Iterator
from typing import Final

from mirrord.errors import MirrordError
from mirrord.feed.frames import Decoder, FrameError, Kind, encode
from mirrord.session.directory import FEED, SessionDirectory, sessions, within_reach

_ROOM: Final = 1 << 18
_PATIENCE: Final = 5.0


class FeedError(MirrordError):
    """Raised when a session does not say what it should."""


class Client:
    """A connection to one session."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket: Final = sock
        self._decoder: Final = Decoder()
        self._ended: bool = False
        sock.setblocking(False)

    @property
    def ended(self) -> bool:
        """The session has gone, with or without a word."""
        return self._ended

    @property
    def has_more(self) -> bool:
        """There is something to be read: frames, a part of one, or the end."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def frames(self, timeout: float | None = None) -> Iterator[tuple[Kind, bytes]]:
        """Return what there is now, after waiting for ``timeout`` seconds at most, None for as long as it
        takes; raise FeedError.
        """
        ready, _, _ = select.select([self.socket], [], [], timeout)
        if not ready:
            return
        try:
            data = self.socket.recv(_ROOM)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._ended = not data
        try:
            yield from self._decoder.take(data)
        except FrameError as error:
            raise FeedError(f"the session does not speak as it should: {error}") from error

    def ask(self, kind: Kind) -> None:
        """Ask the session for something."""
        try:
            self.socket.send(encode(kind), socket.MSG_NOSIGNAL)
        except OSError:
            self._ended = True

    def close(self) -> None:
        """Let go of the session."""
        self.socket.close()


def connect(directory: SessionDirectory) -> Client | None:
    """Return a connection to a session, None where it is gone and has left its directory."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(_PATIENCE)
    try:
        with within_reach(os.path.join(directory.path, FEED)) as name:
            sock.connect(name)
    except OSError:
        # nobody listens: it ends, begins, or was killed
        sock.close()
        return None
    return Client(sock)


def running() -> Iterator[tuple[SessionDirectory, Client]]:
    """Return this user's sessions that answer."""
    for directory in sessions():
        client = connect(directory)
        if client is not None:
            yield directory, client
