"""Reads along on a link: which requests went one way and which replies came back the other."""

import json
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Final

_REQUEST: Final = 1
_REPLY: Final = 2
_FRAME: Final = struct.Struct("!BI")
_CONTROL: Final = 0x8
_OPCODE: Final = 0x0F
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F


class WebSocketReader:
    """Yields the data messages of one direction of a websocket connection (RFC 6455), opening included."""

    def __init__(self) -> None:
        self._data: Final = bytearray()
        self._open: bool = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes, yield the messages that they complete; ours are not fragmented."""
        self._data.extend(data)
        if not self._open and (end := self._data.find(b"\r\n\r\n")) >= 0:
            del self._data[: end + 4]
            self._open = True
        while self._open and (message := self._next()) is not None:
            if message[0] < _CONTROL:
                yield message[1]

    def _next(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        masked, length, at = data[1] & _MASKED, data[1] & _LENGTH, 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length, at = int.from_bytes(data[2 : 2 + size]), 2 + size
        start = at + (4 if masked else 0)
        if len(data) < start + length:
            return None
        content = data[start : start + length]
        payload = _unmask(content, data[at:start]) if masked else bytes(content)
        opcode = data[0] & _OPCODE
        del data[: start + length]
        return opcode, payload


def _unmask(payload: bytearray, mask: bytearray) -> bytes:
    size = len(payload)
    pattern = int.from_bytes((bytes(mask) * (size // 4 + 1))[:size])
    return (int.from_bytes(payload) ^ pattern).to_bytes(size)


class Requests:
    """Counts what a session asks: how often, and how much of it at once."""

    def __init__(self) -> None:
        self.counts: Final[Counter[str]] = Counter()
        """How many requests of each type passed; what is sent again on another connection counts again."""
        self.together: Final[Counter[str]] = Counter()
        """The most requests of a type that were unanswered at one moment."""
        self._waiting: Final[dict[int, str]] = {}

    def connected(self) -> "Connection":
        """Read along on one more connection."""
        return Connection(self)

    def asked(self, message: bytes) -> None:
        """Note a message to the agent."""
        if message[0] == _REQUEST:
            _, number = _FRAME.unpack_from(message)
            name = str(json.loads(message[_FRAME.size :])["type"])
            self._waiting[number] = name
            self.counts[name] += 1
            now = sum(one == name for one in self._waiting.values())
            self.together[name] = max(self.together[name], now)

    def answered(self, message: bytes) -> None:
        """Note a message from the agent."""
        if message[0] == _REPLY:
            _, number = _FRAME.unpack_from(message)
            self._waiting.pop(number, None)


class Connection:
    """Reads along on one connection."""

    def __init__(self, requests: Requests) -> None:
        self._requests: Final = requests
        self._there: Final = WebSocketReader()
        self._back: Final = WebSocketReader()

    def asked(self, data: bytes) -> None:
        """Note what goes to the agent."""
        for message in self._there.feed(data):
            self._requests.asked(message)

    def answered(self, data: bytes) -> None:
        """Note what comes from the agent."""
        for message in self._back.feed(data):
            self._requests.answered(message)
