"""Copies of connections, each on a stream that the agent opens."""

import errno
from collections import deque
from typing import Final

from mirrord_agent.mirror.packets import End
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.frames import Data
from mirrord_agent.wire.messages import Address, Arrived

MOST_WAITING: Final = 32 * 1024 * 1024
"""Bytes of one copy that may wait until they are taken: a client cannot be told to send less."""
MOST_WAITING_OF_ALL: Final = 64 * 1024 * 1024


class Waiting:
    """How many bytes of all copies wait."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size: int = 0


class StreamCopy:
    """One copy; the other side may end it at any time."""

    __slots__ = ("_all", "_fin", "_gone", "_stream", "_unsent", "_waiting")

    def __init__(self, channel: Channel, client: End, local: End, waiting: Waiting) -> None:
        """Tell the other side of the connection; ``waiting`` is shared by all copies."""
        self._unsent: Final[deque[bytes]] = deque()
        self._waiting: int = 0
        self._all: Final = waiting
        self._fin: bool = False
        self._gone: bool = False
        self._stream: Final = channel.open_stream()
        self._stream.bind(
            on_data=self._ignore, on_fin=_nothing, on_reset=self._unwanted, on_writable=self._send
        )
        channel.emit(
            Arrived(stream=self._stream.id, port=local.port, remote=_address(client), local=_address(local))
        )

    def data(self, data: bytes) -> int:
        """Send bytes as soon as there is credit; return an errno where no more can be taken."""
        if self._gone:
            return errno.ECANCELED
        if self._waiting + len(data) > MOST_WAITING or self._all.size + len(data) > MOST_WAITING_OF_ALL:
            return errno.ENOBUFS
        self._unsent.append(data)
        self._count(len(data))
        self._send()
        return 0

    def fin(self) -> None:
        """End once everything is sent."""
        self._fin = True
        self._send()

    def reset(self, errno: int) -> None:
        """End at once."""
        self._drop()
        self._stream.reset(errno)

    def _send(self) -> None:
        while self._unsent and (credit := self._stream.credit):
            data = self._unsent.popleft()
            self._stream.write(data[:credit])
            self._count(-min(len(data), credit))
            if len(data) > credit:
                self._unsent.appendleft(data[credit:])
        if self._fin and not self._unsent:
            self._stream.fin()

    def _count(self, more: int) -> None:
        self._waiting += more
        self._all.size += more

    def _unwanted(self) -> None:
        self._drop()

    def _drop(self) -> None:
        self._gone = True
        self._unsent.clear()
        self._count(-self._waiting)

    def _ignore(self, data: Data) -> None:
        """Ignore what is answered: there is nobody to send it to."""
        self._stream.consumed(len(data))


def _nothing() -> None:
    """Do nothing: the other side has only said that it answers nothing."""


def _address(end: End) -> Address:
    return Address(host=end.text, port=end.port)
