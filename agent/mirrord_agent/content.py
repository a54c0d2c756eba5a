"""Sending a file's content on a stream."""

import asyncio
import errno
import hashlib
import os
import time
from typing import Final

from mirrord_agent.files import Files
from mirrord_agent.wire.channel import Data, Stream
from mirrord_agent.wire.messages import Attributes, OpenFile

_PIECE: Final = 128 * 1024
_HASHED: Final = 1024 * 1024
_TICK_NS: Final = 50_000_000
_UNSIZED: Final = 64 * 1024 * 1024
"""Bytes that a file without a size, as in ``/proc``, may have."""


class ContentSender:
    """Sends one open file, as fast as the receiver takes it, and closes it."""

    def __init__(self, files: Files, fd: int, stream: Stream, *, size: int, begin: int = 0) -> None:
        """``size`` is what the file had when it was opened, ``begin`` what of it the receiver has."""
        self._files: Final = files
        self._fd: Final = fd
        self._sized: Final = size > 0
        self._end: Final = size or _UNSIZED
        self._stream: Final = stream
        self._at: int = begin
        self._waiter: asyncio.Future[None] | None = None

    async def send(self) -> None:
        """Send up to the size that the file had when opened, then FIN; a failure is a RESET with an errno."""
        stream = self._stream
        stream.bind(on_data=_ignore, on_fin=_nothing, on_reset=self._wake, on_writable=self._wake)
        try:
            await self._send()
        except OSError as error:
            stream.reset(error.errno or errno.EIO)
        finally:
            os.close(self._fd)

    async def _send(self) -> None:
        stream = self._stream
        while not stream.closed:
            room = min(stream.credit, _PIECE, self._end - self._at)
            if self._at == self._end:
                if not self._sized and await self._read(1):
                    raise OSError(errno.EFBIG, "a file without a size that does not end")
                break
            if not room:
                await self._writable()
                continue
            piece = await self._read(room)
            if not piece:
                break
            self._at += len(piece)
            stream.write(piece)
        stream.fin()

    async def _read(self, size: int) -> bytes | memoryview:
        """Read at the present place: at once what is in memory, else on a thread."""
        try:
            scratch = self._stream.scratch[:size]
            return scratch[: os.preadv(self._fd, [scratch], self._at, os.RWF_NOWAIT)]
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL):
                raise
        return await self._files.run(os.pread, self._fd, size, self._at)

    async def _writable(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def is_settled(attributes: Attributes) -> bool:
    """Tell whether a later change must show in the times: the kernel's clock for them ticks every few
    milliseconds.
    """
    return time.time_ns() - max(attributes.ctime_ns, attributes.mtime_ns) > _TICK_NS


def known_part(fd: int, attributes: Attributes, request: OpenFile) -> int:
    """Return how much of a file the requester has: all of its version if the file has only grown since."""
    have = request.have
    if have is None or request.digest is None or not 0 < have.size <= attributes.size:
        return 0
    if (have.dev, have.ino) != (attributes.dev, attributes.ino):
        return 0
    digest, at = hashlib.blake2b(), 0
    while at < have.size and (piece := os.pread(fd, min(_HASHED, have.size - at), at)):
        digest.update(piece)
        at += len(piece)
    return at if at == have.size and digest.digest() == request.digest else 0


def _ignore(data: Data) -> None:
    """Ignore what the receiver has no reason to send."""


def _nothing() -> None:
    """Do nothing: that the receiver writes no more was clear."""
