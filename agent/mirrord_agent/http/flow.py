"""What HTTP/2 is made of here: ends of connections, and flows from one end's stream to another's.

A flow gives credit back to where its bytes came from only once they have gone on, so each connection keeps at
most its windows, and a stalled stream holds no other.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from mirrord_agent.http.detect import PREFACE
from mirrord_agent.http.request import Header
from mirrord_agent.http.sieve import Sieve

_STREAM_WINDOW: Final = 256 * 1024
_CONNECTION_WINDOW: Final = 1024 * 1024
_INITIAL_WINDOW: Final = 65_535
_STREAMS: Final = 100


class Broken(Exception):
    """Raised where the other side does not keep to the protocol."""


class End:
    """Our end of one HTTP/2 connection."""

    def __init__(self, *, client: bool, head: int) -> None:
        """``client``: we are the one who asks. ``head``: bytes that a list of headers may have."""
        # headers are passed on as they are
        config = H2Configuration(
            client_side=client,
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            normalize_inbound_headers=False,
        )
        self.h2: Final = H2Connection(config)
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: head,
            SettingCodes.ENABLE_PUSH: 0,
        }
        self.h2.local_settings = Settings(client=client, initial_values=values)
        self.h2.initiate_connection()
        # holds only once the other side has acknowledged it: until then it may have begun more, as Envoy does
        self.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: _STREAMS})
        self.h2.increment_flow_control_window(_CONNECTION_WINDOW - _INITIAL_WINDOW)
        self._sieve: Final = Sieve(skip=0 if client else len(PREFACE))

    @property
    def last_stream(self) -> int | None:
        """The last stream that the other side will serve, once it has said that it ends."""
        return self._sieve.last_stream

    @property
    def has_room(self) -> bool:
        """Another stream may be opened."""
        return self.h2.open_outbound_streams < self.h2.remote_settings.max_concurrent_streams

    def receive(self, data: bytes) -> Iterator[Event]:
        """Give what happened; raise Broken after what happened before."""
        # frame by frame: h2 forgets what came before a wrong one
        for piece in self._sieve.feed(data):
            try:
                yield from self.h2.receive_data(piece)
            except ProtocolError as error:
                raise Broken(str(error)) from None

    def reset(self, stream: int, code: int) -> None:
        """End a stream, if it has not ended."""
        try:
            self.h2.reset_stream(stream, code)
        except ProtocolError:
            # both sides have ended it already
            return

    def take(self) -> bytes:
        """Return what is to be sent."""
        return self.h2.data_to_send()


@dataclass(slots=True)
class _Headers:
    headers: list[Header]
    ends: bool


@dataclass(slots=True)
class _Data:
    data: memoryview
    ends: bool
    padding: int


@dataclass(slots=True)
class _End:
    pass


@dataclass(slots=True)
class _Reset:
    code: int


class Flow:
    """One direction of a request."""

    def __init__(self, source: End | None, stream: int) -> None:
        """``source``: where its bytes come from, None if from ourselves."""
        self._source: Final = source
        self.stream: Final = stream
        self._sink: tuple[End, int] | None = None
        self._items: Final[deque[_Headers | _Data | _End | _Reset]] = deque()
        self._dropping: bool = False
        self.ended: bool = False
        """Its end has been passed on."""

    @property
    def waits(self) -> bool:
        """There is something to be passed on."""
        return bool(self._items)

    def connect(self, sink: End, stream: int) -> None:
        """Say where it goes."""
        self._sink = (sink, stream)

    def headers(self, headers: list[Header], *, ends: bool) -> None:
        """Add a head, or trailers."""
        self._items.append(_Headers(headers, ends))

    def data(self, data: bytes, size: int, *, ends: bool) -> None:
        """Add bytes; ``size`` is what they cost, with padding."""
        if self._dropping:
            self._acknowledge(size)
        else:
            self._items.append(_Data(memoryview(data), ends, size - len(data)))

    def end(self) -> None:
        """Add an end without anything."""
        self._items.append(_End())

    def reset(self, code: int) -> None:
        """End it when everything before has gone on."""
        self._items.append(_Reset(code))

    def drop(self) -> None:
        """Nobody wants it: give back credit for what there is and what comes."""
        self._dropping = self.ended = True
        for item in self._items:
            if isinstance(item, _Data):
                self._acknowledge(len(item.data) + item.padding)
        self._items.clear()

    def pump(self) -> None:
        """Pass on what the other connection takes."""
        try:
            while self._sink is not None and self._items and self._pass(self._items[0], *self._sink):
                if self._items:
                    self._items.popleft()
        except ProtocolError:
            # the stream has been ended from the other side
            self.drop()

    def _pass(self, item: _Headers | _Data | _End | _Reset, sink: End, stream: int) -> bool:
        if isinstance(item, _Headers):
            sink.h2.send_headers(stream, item.headers, end_stream=item.ends)
            self.ended = item.ends
        elif isinstance(item, _Data):
            return self._pass_data(item, sink, stream)
        elif isinstance(item, _End):
            sink.h2.end_stream(stream)
            self.ended = True
        else:
            sink.reset(stream, item.code)
            self.drop()
        return True

    def _pass_data(self, item: _Data, sink: End, stream: int) -> bool:
        window = min(sink.h2.local_flow_control_window(stream), sink.h2.max_outbound_frame_size)
        if window <= 0 and item.data:
            return False
        piece, item.data = item.data[:window], item.data[window:]
        self.ended = item.ends and not item.data
        sink.h2.send_data(stream, bytes(piece), end_stream=self.ended)
        self._acknowledge(len(piece) + item.padding)
        item.padding = 0
        return not item.data

    def _acknowledge(self, size: int) -> None:
        if self._source is not None and size:
            self._source.h2.acknowledge_received_data(size, self.stream)


REFUSED: Final = int(ErrorCodes.REFUSED_STREAM)
FAILED: Final = int(ErrorCodes.INTERNAL_ERROR)
