"""Sending a file's content on a stream."""

import asyncio
import errno
import os
from typing import Final

from mirrord_agent.files import Files
from mirrord_agent.wire.channel import Data, Stream

_PIECE: Final = 128 * 1024
_UNSIZED: Final = 64 * 1024 * 1024
"""Bytes that a file without a size, as in ``/proc``, may have."""


class ContentSender:
    """Sends one open file, as fast as the receiver takes it, and closes it."""

    def __init__(self, files: Files, fd: int, size: int, stream: Stream) -> None:
        self._files: Final = files
        self._fd: Final = fd
        self._sized: Final = size > 0
        self._end: Final = size or _UNSIZED
        self._stream: Final = stream
        self._at: int = 0
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


def _ignore(data: Data) -> None:
    """Ignore what the receiver has no reason to send."""


def _nothing() -> None:
    """Do nothing: that the receiver writes no more was clear."""
