"""A small HTTP/1.1 server that describes requests, gives bytes and sums them up."""

import asyncio
import hashlib
import json
from typing import Final
from urllib.parse import parse_qs, urlsplit

import h11

_PERIOD: Final = 65521
_CHUNK: Final = 4 * _PERIOD
# The period is a prime, so that no block that got lost or came twice goes unnoticed.
_BLOCK: Final = hashlib.shake_256(b"mirrord sandbox").digest(_PERIOD) * 5


def some_bytes(offset: int, size: int) -> bytes:
    """Return what ``/bytes`` has from ``offset`` on, the same for everybody, at most 4 × 65521 bytes."""
    start = offset % _PERIOD
    return _BLOCK[start : start + min(size, _CHUNK)]


class HttpServer(asyncio.Protocol):
    """One connection; ``name`` is what the server calls itself."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._connection = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._hash = hashlib.sha256()
        self._received = 0
        self._left = 0
        self._sent = 0
        self._paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._connection.receive_data(data)
        self._advance()

    def eof_received(self) -> bool:
        self._connection.receive_data(b"")
        self._advance()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._left = 0

    def _advance(self) -> None:
        try:
            while self._event():
                pass
        except h11.RemoteProtocolError as error:
            self._refuse(error)
        if self._connection.our_state in (h11.CLOSED, h11.MUST_CLOSE, h11.ERROR):
            self._transport.close()

    def _event(self) -> bool:
        event = self._connection.next_event()
        if event is h11.NEED_DATA:
            if self._connection.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            return False
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return False
        if isinstance(event, h11.Request):
            self._request, self._hash, self._received = event, hashlib.sha256(), 0
        elif isinstance(event, h11.Data):
            self._hash.update(event.data)
            self._received += len(event.data)
        elif isinstance(event, h11.EndOfMessage) and self._request is not None:
            self._respond(self._request)
        return True

    def _respond(self, request: h11.Request) -> None:
        url = urlsplit(request.target.decode("latin-1"))
        if url.path == "/bytes":
            size = parse_qs(url.query).get("n", [""])[0]
            if size.isascii() and size.isdigit():
                self._begin(200, "application/octet-stream", int(size))
                self._resume()
            else:
                self._text(400, "expected /bytes?n=NUMBER\n")
        elif url.path == "/sum":
            posted = request.method == b"POST"
            self._text(
                200 if posted else 405, self._hash.hexdigest() if posted else "POST the bytes to sum up\n"
            )
        elif url.path == "/":
            self._text(200, self._describe(request), kind="application/json")
        else:
            self._text(404, f"{self._name} has /, /bytes?n=NUMBER and POST /sum\n")

    def _describe(self, request: h11.Request) -> str:
        peer = self._transport.get_extra_info("peername")
        local = self._transport.get_extra_info("sockname")
        description = {
            "server": self._name,
            "peer": peer[0],
            "local": local[0],
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "headers": {key.decode("latin-1"): value.decode("latin-1") for key, value in request.headers},
            "body": self._received,
        }
        return json.dumps(description, indent=2) + "\n"

    def _send(self, event: h11.Event) -> None:
        if data := self._connection.send(event):
            self._transport.write(data)

    def _begin(self, status: int, kind: str, size: int) -> None:
        headers = [("Content-Type", kind), ("Content-Length", str(size))]
        self._send(h11.Response(status_code=status, headers=headers))
        self._left, self._sent = size, 0
        if self._request is not None and self._request.method == b"HEAD":
            self._left = 0

    def _text(self, status: int, text: str, *, kind: str = "text/plain") -> None:
        data = text.encode()
        self._begin(status, kind, len(data))
        if self._left:
            self._send(h11.Data(data=data))
        self._finish()

    def _finish(self) -> None:
        self._left = 0
        self._send(h11.EndOfMessage())
        if self._connection.our_state is h11.DONE and self._connection.their_state is h11.DONE:
            self._connection.start_next_cycle()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._begin(error.error_status_hint, "text/plain", 0)
            self._send(h11.EndOfMessage())
        self._transport.close()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._left:
            self._resume()
            self._advance()

    def _resume(self) -> None:
        """Send of ``/bytes`` what the socket takes; the transport asks for more."""
        while self._left and not self._paused:
            data = some_bytes(self._sent, self._left)
            self._sent += len(data)
            self._left -= len(data)
            self._send(h11.Data(data=data))
        if not self._left:
            self._finish()
