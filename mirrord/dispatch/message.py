"""``struct msghdr`` and what it points to, in the program's memory (recvmsg(2), cmsg(3))."""

import errno
import os
import struct
from dataclasses import dataclass
from typing import Final, Self

from mirrord.syscall import Call

_MSGHDR: Final = struct.Struct("=QI4xQQQQi4x")
_IOVEC: Final = struct.Struct("=QQ")
_CMSGHDR: Final = struct.Struct("=Qii")
_MMSGHDR: Final = struct.Struct(f"={_MSGHDR.size}sI4x")
_INT: Final = struct.Struct("=i")
_SIZE: Final = struct.Struct("=Q")
_NAMELEN: Final = 8
_CONTROLLEN: Final = 40
_FLAGS: Final = 48
_MSG_LEN: Final = _MSGHDR.size
_MOST_VECTORS: Final = 1024
"""UIO_MAXIOV."""
_ALIGNMENT: Final = 8

SIZE: Final = _MSGHDR.size
MULTI_SIZE: Final = _MMSGHDR.size

Writes = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One message header of the program."""

    at: int
    name: int
    name_size: int
    vectors: int
    vector_count: int
    control: int
    control_size: int

    @classmethod
    def parse(cls, raw: bytes, at: int) -> Self:
        """Read the header whose bytes these are."""
        name, name_size, vectors, count, control, control_size, _ = _MSGHDR.unpack(raw[: _MSGHDR.size])
        return cls(at, name, name_size, vectors, count, control, control_size)

    @classmethod
    def read(cls, call: Call, at: int) -> Self:
        """Read the header at an address; raise Fault."""
        return cls.parse(call.read(at, _MSGHDR.size), at)

    @classmethod
    def read_many(cls, call: Call, at: int, count: int) -> list[Self]:
        """Read an array of ``struct mmsghdr``; the kernel takes no more than UIO_MAXIOV of them
        (recvmmsg(2)).
        """
        count = min(count & 0xFFFFFFFF, _MOST_VECTORS)
        raw = call.read(at, count * MULTI_SIZE) if count else b""
        return [
            cls.parse(raw[start : start + MULTI_SIZE], at + start) for start in range(0, len(raw), MULTI_SIZE)
        ]

    def areas(self, call: Call) -> list[tuple[int, int]]:
        """Return address and size of each part of the payload; raise OSError EMSGSIZE."""
        if self.vector_count > _MOST_VECTORS:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        raw = call.read(self.vectors, self.vector_count * _IOVEC.size) if self.vector_count else b""
        return list(_IOVEC.iter_unpack(raw))

    def gather(self, call: Call) -> bytes:
        """Return the payload."""
        return b"".join(call.read(at, size) for at, size in self.areas(call) if size)

    def scatter(self, call: Call, data: bytes) -> Writes:
        """Return the writes that put a payload where the program wants it."""
        writes: list[tuple[int, bytes]] = []
        for at, size in self.areas(call):
            if not data:
                break
            writes.append((at, data[:size]))
            data = data[size:]
        return tuple(writes)

    def name_writes(self, sockaddr: bytes) -> Writes:
        """Return the writes that report the sender."""
        if not self.name:
            return ()
        return (self.name, sockaddr[: self.name_size]), (self.at + _NAMELEN, _INT.pack(len(sockaddr)))

    def control_writes(self, control: bytes) -> Writes:
        """Return the writes that report control messages, already cut to ``control_size``."""
        writes = ((self.at + _CONTROLLEN, _SIZE.pack(len(control))),)
        return ((self.control, control), *writes) if control and self.control else writes

    def flags_write(self, flags: int) -> tuple[int, bytes]:
        """Return the write that reports the flags."""
        return self.at + _FLAGS, _INT.pack(flags)

    def length_write(self, length: int) -> tuple[int, bytes]:
        """Return the write that reports how long this message of several was."""
        return self.at + _MSG_LEN, _INT.pack(length)


def pack_control(messages: list[tuple[int, int, bytes]]) -> bytes:
    """Return control messages as they lie in memory, each padded to the machine's alignment (cmsg(3))."""
    packed = bytearray()
    for level, kind, data in messages:
        packed += _CMSGHDR.pack(_CMSGHDR.size + len(data), level, kind) + data
        packed += bytes(-len(packed) % _ALIGNMENT)
    return bytes(packed)
