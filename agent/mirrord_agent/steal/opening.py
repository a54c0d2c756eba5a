"""A link to the local side, from the moment that one is asked for."""

import asyncio
from collections.abc import Awaitable
from typing import Final

from mirrord_agent.steal.link import Link, Owner
from mirrord_agent.steal.stream_link import StreamLink
from mirrord_agent.wire.stream import Stream


class OpeningLink:
    """Keeps what is written until the stream is there."""

    def __init__(self, opening: Awaitable[Stream], owner: Owner) -> None:
        self._owner: Final = owner
        self._link: StreamLink | None = None
        self._unsent: Final = bytearray()
        self._fin: bool = False
        self._closing: bool = False
        self._over: bool = False
        self._task: Final = asyncio.ensure_future(self._run(opening))

    @property
    def pending(self) -> int:
        """How many bytes are kept."""
        return self._link.pending if self._link else len(self._unsent)

    @property
    def closed(self) -> bool:
        """It is over, and everything was taken."""
        return self._link.closed if self._link else self._over

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._link:
            self._link.write(data)
        else:
            self._unsent.extend(data)

    def fin(self) -> None:
        """Send no more, once what was written is taken."""
        self._fin = True
        if self._link:
            self._link.fin()

    def close(self) -> None:
        """Read no more, and close once what was written is taken."""
        self._closing = True
        if self._link:
            self._link.close()

    def reset(self) -> None:
        """Close at once, so that the other side notices."""
        self._over = True
        if self._link:
            self._link.reset()

    def read(self, go: bool) -> None:
        """Say whether more may come."""
        if self._link:
            self._link.read(go)

    async def _run(self, opening: Awaitable[Stream]) -> None:
        try:
            stream = await opening
        except OSError as error:
            if not (self._over or self._closing):
                self._over = True
                self._owner.link_lost(self, error.strerror or str(error))
            return
        if self._over:
            stream.reset()
            return
        link = self._link = StreamLink(stream, _Renamed(self, self._owner))
        link.write(bytes(self._unsent))
        self._unsent.clear()
        if self._fin:
            link.fin()
        if self._closing:
            link.close()
        self._owner.link_drained(self)


class _Renamed:
    """Tells the owner of a link within another of the outer one."""

    def __init__(self, link: OpeningLink, owner: Owner) -> None:
        self._link: Final = link
        self._owner: Final = owner

    def link_data(self, link: Link, data: bytes) -> None:
        """Bytes have come."""
        self._owner.link_data(self._link, data)

    def link_eof(self, link: Link) -> None:
        """No more will come."""
        self._owner.link_eof(self._link)

    def link_lost(self, link: Link, reason: str) -> None:
        """It was reset."""
        self._owner.link_lost(self._link, reason)

    def link_drained(self, link: Link) -> None:
        """Bytes that were kept have been taken, or it has closed."""
        self._owner.link_drained(self._link)
