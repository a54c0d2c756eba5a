"""The headers in one way of an HTTP/2 connection, read along as it passes (RFC 9113, 4 and 6)."""

from collections.abc import Iterator
from typing import Final

from hpack import Decoder, HPACKError

_HEAD: Final = 9
_HEADERS, _CONTINUATION = 0x1, 0x9
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_LONGEST_BLOCK: Final = 256 * 1024
_TABLE: Final = 1 << 16
"""What the other side may have allowed for compression; its settings are not read."""


class Streams:
    """Finds the headers among the frames; everything else is passed over, never kept."""

    def __init__(self) -> None:
        self._decoder: Final = Decoder(max_header_list_size=_LONGEST_BLOCK)
        self._decoder.max_allowed_table_size = _TABLE
        self._input: Final = bytearray()
        self._pass_over: int = 0
        self._block: Final = bytearray()

    def take(self, data: bytes) -> Iterator[tuple[int, dict[bytes, bytes]]]:
        """Return the stream and the headers of each block that these bytes complete; raise ValueError."""
        self._input.extend(data)
        while self._advance() and len(self._input) >= _HEAD:
            size, kind, flags = int.from_bytes(self._input[:3], "big"), self._input[3], self._input[4]
            if kind not in (_HEADERS, _CONTINUATION):
                self._pass_over = _HEAD + size
                continue
            if size + len(self._block) > _LONGEST_BLOCK:
                raise ValueError(f"a block of headers of more than {_LONGEST_BLOCK} bytes")
            if len(self._input) < _HEAD + size:
                return
            stream = int.from_bytes(self._input[5:_HEAD], "big") & 0x7FFF_FFFF
            payload = bytes(self._input[_HEAD : _HEAD + size])
            self._pass_over = _HEAD + size
            self._block.extend(payload if kind == _CONTINUATION else _fragment(flags, payload))
            if flags & _END_HEADERS:
                yield stream, self._decoded()

    def _advance(self) -> bool:
        """Drop what is to be passed over; tell whether a frame begins here."""
        dropped = min(self._pass_over, len(self._input))
        del self._input[:dropped]
        self._pass_over -= dropped
        return not self._pass_over

    def _decoded(self) -> dict[bytes, bytes]:
        block = bytes(self._block)
        self._block.clear()
        try:
            return {bytes(name): bytes(value) for name, value in self._decoder.decode(block, raw=True)}
        except HPACKError as error:
            raise ValueError(str(error)) from error


def _fragment(flags: int, payload: bytes) -> bytes:
    """Return the headers of a HEADERS frame without its padding and priority (RFC 9113, 6.2)."""
    padding = 0
    if flags & _PADDED:
        if not payload:
            raise ValueError("a padded frame without the padding's length")
        padding, payload = payload[0], payload[1:]
    if flags & _PRIORITY:
        payload = payload[5:]
    if padding > len(payload):
        raise ValueError("more padding than the frame has")
    return payload[: len(payload) - padding]
