"""A service that stands before the pod: every connection to it becomes one to the pod's port."""

import asyncio
import socket
import struct
from typing import Final

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class _End(asyncio.Protocol):
    """One end of a forwarded connection; what it receives goes out at the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self._early = b""
        """What came before there was another end: uvloop begins to read whatever ``connection_made`` says."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def _to(self) -> asyncio.Transport | None:
        return self.other.transport if self.other is not None else None

    def data_received(self, data: bytes) -> None:
        if (to := self._to()) is not None:
            to.write(data)
        elif self.other is None:
            self._early += data

    def join(self, other: "_End") -> None:
        """Become one connection with ``other``."""
        self.other, other.other = other, self
        if self._early and other.transport is not None:
            other.transport.write(self._early)

    def eof_received(self) -> bool:
        if (to := self._to()) is not None and not to.is_closing():
            to.write_eof()
        return True

    def pause_writing(self) -> None:
        if (to := self._to()) is not None:
            to.pause_reading()

    def resume_writing(self) -> None:
        if (to := self._to()) is not None:
            to.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if (to := self._to()) is None:
            return
        if error is None:
            to.close()
        else:
            reset(to)


def reset(transport: asyncio.Transport) -> None:
    """Drop a connection in the way that its peer sees as *connection reset*."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


class Forwarder(_End):
    """The accepted end; connects to ``host`` and ``port`` before it reads anything."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._address = (host, port)
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            _, end = await asyncio.get_running_loop().create_connection(_End, *self._address)
        except OSError:
            if self.transport is not None:
                reset(self.transport)
            return
        if self.transport is None:
            assert end.transport is not None
            end.transport.close()
            return
        self.join(end)
        self.transport.resume_reading()
