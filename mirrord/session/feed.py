"""The session's socket: who watches is told what happens, and never waited for.

Records gather where the gate leaves them, and leave in batches by a timer that runs only while somebody
watches. Each watcher has a queue of its own; what a slow one has no room for is dropped, counted and told.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from mirrord.feed.frames import Decoder, FrameError, Kind, encode
from mirrord.feed.models import Dropped, Ended, Exchange, Model, Note, SessionInfo, State
from mirrord.feed.traffic import Piece
from mirrord.session.directory import FEED, within_reach

_TICK: Final = 0.025
_SELDOM: Final = 0.25
"""Seconds in which records gather. To send some costs the program up to a millisecond: the loop's thread
takes the interpreter from the gate's, and who watches is woken.
"""
_STATE_TIME: Final = 0.5
_MOST_QUEUED: Final = 32 * 1024 * 1024
_MOST_TRAFFIC: Final = 256 * 1024 * 1024
"""Bytes that wait for one watcher: a capture with holes is worth less than a trace with some."""
_BATCH: Final = 1024 * 1024
_LARGEST_COMMAND: Final = 4096
_DRAIN_PATIENCE: Final = 10.0
_DRAIN_TICK: Final = 0.025
_SEND_BUFFER: Final = 1024 * 1024


class Records(Protocol):
    """Where records gather."""

    @property
    def dropped(self) -> int: ...

    def take(self) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Session:
    """What the feed asks of its session."""

    info: Callable[[], SessionInfo]
    state: Callable[[], State]
    watched: Callable[[bool], None]
    """Be told when the first watcher comes, and when the last has gone."""
    tapped: Callable[[bool], None]
    """Be told when the first wants the traffic, and when nobody does any more."""
    stop: Callable[[], None]
    records: Records


class Watcher:
    """One that is told; each method returns at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, feed: "Feed") -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.watching = False
        self.tapping = False
        self.seldom = False
        self._loop: Final = loop
        self._socket: Final = sock
        self._feed: Final = feed
        self._decoder: Final = Decoder(most=_LARGEST_COMMAND)
        self._queue: Final[deque[memoryview]] = deque()
        self._queued: int = 0
        self._lost: int = 0
        self._lost_traffic: int = 0
        loop.add_reader(sock, self.readable)

    @property
    def drained(self) -> bool:
        """Everything has left, or there is nobody to take it."""
        return not self._queue

    def tell(self, kind: Kind, payload: bytes, *, records: int = 0) -> None:
        """Send a frame, or drop it where too much waits already."""
        if self._queued > (_MOST_TRAFFIC if kind is Kind.TRAFFIC else _MOST_QUEUED):
            self._lost += records
            self._lost_traffic += len(payload) * (kind is Kind.TRAFFIC)
            return
        if self._lost or self._lost_traffic:
            dropped = Dropped(count=self._lost, traffic=self._lost_traffic)
            self._lost = self._lost_traffic = 0
            self._push(encode(Kind.DROPPED, _json(dropped)))
        self._push(encode(kind, payload))

    def _push(self, frame: bytes) -> None:
        self._queue.append(memoryview(frame))
        self._queued += len(frame)
        if len(self._queue) == 1:
            self._writable()
            if self._queue:
                self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        while self._queue:
            try:
                sent = self._socket.send(self._queue[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                # it has gone
                self.close()
                return
            self._queued -= sent
            if sent < len(self._queue[0]):
                self._queue[0] = self._queue[0][sent:]
            else:
                self._queue.popleft()
        self._loop.remove_writer(self._socket)

    def readable(self) -> None:
        """Do what it has asked for."""
        try:
            data = self._socket.recv(_LARGEST_COMMAND)
            if not data:
                self.close()
                return
            for kind, _ in self._decoder.take(data):
                self._feed.command(self, kind)
        except BlockingIOError:
            return
        except (OSError, FrameError):
            self.close()

    def close(self) -> None:
        """Let it go."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._queue.clear()
        self._feed.gone(self)


class Feed:
    """The socket and its watchers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session: Session) -> None:
        self._loop: Final = loop
        self._session: Final = session
        self._watchers: Final[set[Watcher]] = set()
        self._listener: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._told: float = 0.0
        """When the state was."""
        self._dropped: int = 0

    @property
    def watched(self) -> bool:
        """Somebody watches."""
        return any(watcher.watching for watcher in self._watchers)

    def listen(self, directory: str) -> None:
        """Take watchers on the socket in the session's directory."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        path = os.path.join(directory, FEED)
        with within_reach(path) as name:
            listener.bind(name)
        os.chmod(path, 0o600)
        listener.listen()
        self._listener = listener
        self._loop.add_reader(listener, self._accept)

    def adopt(self, sock: socket.socket) -> None:
        """Tell one that watches from the beginning, and may have asked for more before that."""
        watcher = self._welcome(sock)
        self.command(watcher, Kind.WATCH)
        watcher.readable()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:
            # it went while it waited, or we have no descriptor left: the next one is tried again
            return
        self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> Watcher:
        watcher = Watcher(self._loop, sock, self)
        self._watchers.add(watcher)
        watcher.tell(Kind.INFO, _json(self._session.info()))
        return watcher

    def command(self, watcher: Watcher, kind: Kind) -> None:
        """Do what a watcher asks; for Watcher. Raise FrameError for what it may not ask."""
        if kind is Kind.STOP:
            self._session.stop()
        elif kind is Kind.WATCH:
            watcher.watching = True
            watcher.tell(Kind.STATE, _json(self._session.state()))
            if self._timer is None:
                self._session.watched(True)
                self._timer = self._loop.call_later(_TICK, self._tick)
        elif kind is Kind.SELDOM:
            watcher.seldom = True
        elif kind is Kind.TAP:
            first = not self._tapped
            watcher.tapping = True
            if first:
                self._session.tapped(True)
        else:
            raise FrameError(f"{kind.name} is nothing to ask for")

    def gone(self, watcher: Watcher) -> None:
        """Forget a watcher; for Watcher."""
        self._watchers.discard(watcher)
        if watcher.tapping and not self._tapped:
            self._session.tapped(False)
        if not self.watched and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._session.watched(False)
            self._session.records.take()

    def note(self, note: Note) -> None:
        """Tell of something beside the calls."""
        self._tell(Kind.NOTE, _json(note))

    @property
    def _tapped(self) -> bool:
        return any(watcher.tapping for watcher in self._watchers)

    def traffic(self, piece: Piece) -> None:
        """Tell of a piece of traffic those who have asked for it."""
        payload = piece.pack()
        for watcher in list(self._watchers):
            if watcher.tapping:
                watcher.tell(Kind.TRAFFIC, payload)

    def exchange(self, exchange: Exchange) -> None:
        """Tell of a request, or of its answer."""
        self._tell(Kind.EXCHANGE, _json(exchange))

    def _tick(self) -> None:
        seldom = all(watcher.seldom for watcher in self._watchers if watcher.watching)
        self._timer = self._loop.call_later(_SELDOM if seldom else _TICK, self._tick)
        self._flush()
        now = self._loop.time()
        if now - self._told >= _STATE_TIME:
            self._told = now
            self._tell(Kind.STATE, _json(self._session.state()))

    def _flush(self) -> None:
        records = self._session.records.take()
        batch: list[bytes] = []
        size = 0
        for record in records:
            batch.append(record)
            size += len(record)
            if size >= _BATCH:
                self._tell(Kind.RECORDS, b"".join(batch), records=len(batch))
                batch, size = [], 0
        if batch:
            self._tell(Kind.RECORDS, b"".join(batch), records=len(batch))
        if self._session.records.dropped > self._dropped:
            lost = self._session.records.dropped - self._dropped
            self._dropped += lost
            self._tell(Kind.DROPPED, _json(Dropped(count=lost)))

    def _tell(self, kind: Kind, payload: bytes, *, records: int = 0) -> None:
        for watcher in list(self._watchers):
            if watcher.watching:
                watcher.tell(kind, payload, records=records)

    async def close(self, status: int | None) -> None:
        """Tell the rest, and wait a while until it has been taken."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        if self.watched:
            self._flush()
            self._tell(Kind.STATE, _json(self._session.state()))
        for watcher in list(self._watchers):
            watcher.tell(Kind.ENDED, _json(Ended(status=status)))
        deadline = self._loop.time() + _DRAIN_PATIENCE
        while not all(watcher.drained for watcher in self._watchers) and self._loop.time() < deadline:
            await asyncio.sleep(_DRAIN_TICK)
        for watcher in list(self._watchers):
            watcher.close()


def _json(model: Model) -> bytes:
    return model.model_dump_json().encode()
