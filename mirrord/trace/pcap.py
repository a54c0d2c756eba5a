"""Writes the target's traffic as a capture file, for tshark(1) and the like (pcap-savefile(5)).

The bytes are those that passed; the packets around them are made here, as a network without loss would have
carried them.
"""

import struct
from dataclasses import dataclass, field
from typing import IO, Final

from mirrord.feed.traffic import Address, Piece
from mirrord.trace.packets import ACK, FIN, PSH, SYN, tcp, udp

_FILE: Final = struct.Struct("=IHHiIII")
_RECORD: Final = struct.Struct("=IIII")
_NANOSECONDS: Final = 0xA1B23C4D
_SNAPLEN: Final = 262_144
_LINKTYPE_RAW: Final = 101
_SEGMENT: Final = 32 * 1024
_NS: Final = 1_000_000_000


@dataclass(slots=True)
class _Connection:
    """How far each side of a TCP connection is; True is the local one."""

    next: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    ended: set[bool] = field(default_factory=set)


class Pcap:
    """One file."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out: Final = out
        self._connections: Final[dict[int, _Connection]] = {}
        out.write(_FILE.pack(_NANOSECONDS, 2, 4, 0, 0, _SNAPLEN, _LINKTYPE_RAW))

    def add(self, payload: bytes, clock: int) -> None:
        """Write a piece; ``clock`` is what is added to its time for the real time, in nanoseconds."""
        piece = Piece.unpack(payload)
        time = piece.time + clock
        if piece.udp:
            self._write(time, udp(*_ends(piece, sent=piece.sent), bytes(piece.data)))
        else:
            self._stream(time, piece)

    def flush(self) -> None:
        """Have everything in the file."""
        self._out.flush()

    def _stream(self, time: int, piece: Piece) -> None:
        connection = self._connections.get(piece.flow)
        if connection is None:
            connection = self._connections[piece.flow] = _Connection()
            self._begin(time, connection, piece)
        if piece.sent in connection.ended:
            return
        # what was lost on the way here leaves a hole
        connection.next[piece.sent] = 1 + piece.offset
        for at in range(0, len(piece.data), _SEGMENT):
            self._segment(time, connection, piece, PSH | ACK, bytes(piece.data[at : at + _SEGMENT]))
        if piece.fin:
            self._segment(time, connection, piece, FIN | ACK)
            connection.ended.add(piece.sent)
            self._acknowledge(time, connection, piece)
        if len(connection.ended) == len(connection.next):
            del self._connections[piece.flow]

    def _begin(self, time: int, connection: _Connection, piece: Piece) -> None:
        client = not piece.incoming
        for sent, flags in ((client, SYN), (not client, SYN | ACK)):
            acknowledged = connection.next[not sent]
            self._write(time, tcp(*_ends(piece, sent=sent), 0, acknowledged, flags, b""))
            connection.next[sent] = 1
        self._write(time, tcp(*_ends(piece, sent=client), 1, 1, ACK, b""))

    def _segment(
        self, time: int, connection: _Connection, piece: Piece, flags: int, data: bytes = b""
    ) -> None:
        sent, following = piece.sent, connection.next
        self._write(time, tcp(*_ends(piece, sent=sent), following[sent], following[not sent], flags, data))
        following[sent] += len(data) + bool(flags & FIN)

    def _acknowledge(self, time: int, connection: _Connection, piece: Piece) -> None:
        other, following = not piece.sent, connection.next
        packet = tcp(*_ends(piece, sent=other), following[other], following[piece.sent], ACK, b"")
        self._write(time, packet)

    def _write(self, time: int, packet: bytes) -> None:
        seconds, rest = divmod(time, _NS)
        self._out.write(_RECORD.pack(seconds, rest, len(packet), len(packet)) + packet)


def _ends(piece: Piece, *, sent: bool) -> tuple[Address, Address]:
    """Return who sends and who receives."""
    return (piece.local, piece.remote) if sent else (piece.remote, piece.local)
