"""The stolen ports of one client: redirection, filters and streams put together."""

import asyncio
import errno
import json
import os
from collections import Counter
from typing import Final

from pydantic import ValidationError

from mirrord_agent.errors import AgentError
from mirrord_agent.http.filter import HttpFilter
from mirrord_agent.http.output import Limits, Side
from mirrord_agent.http.request import Request
from mirrord_agent.steal.connection import Patience
from mirrord_agent.steal.established import reset_established
from mirrord_agent.steal.listener import Endpoint, Stolen
from mirrord_agent.steal.mesh import is_meshed
from mirrord_agent.steal.redirection import open_redirection
from mirrord_agent.steal.stealer import Stealer
from mirrord_agent.wire.channel import Channel, RequestFailed
from mirrord_agent.wire.messages import Address, Arrived, NotFlushed, Subscribe
from mirrord_agent.wire.stream import Stream


class Stealing:
    """Steals ports as they are asked for; nothing is redirected before the first."""

    def __init__(self, channel: Channel, *, reserved: int | None = None) -> None:
        """``reserved`` is the descriptor for what the kernel must release last."""
        self.counts: Final[Counter[str]] = Counter()
        """What has become of connections and requests so far."""
        self._channel: Final = channel
        self._reserved: Final = reserved
        self._opening: Final = asyncio.Lock()
        self._stealer: Stealer | None = None
        channel.closed.add_done_callback(lambda _: self._stop_all())

    async def add(self, request: Subscribe) -> None:
        """Steal a port from now on; raise OSError, or RequestFailed with a sentence."""
        filter = read_filter(request.filter)
        stealer = await self._open(filtered=filter is not None)
        try:
            stealer.steal(
                request.port,
                filter,
                limits=Limits(body=request.body_bytes),
                patience=Patience(request.detection_ms / 1000, request.body_ms / 1000),
                on_decided=self._decided,
            )
        except AgentError as error:
            raise RequestFailed(errno.EOPNOTSUPP, str(error)) from None
        if request.flush:
            self._flush(request.port)

    def remove(self, port: int) -> None:
        """Steal a port no more; what was begun goes on."""
        if self._stealer is not None:
            self._stealer.stop(port)

    def pause(self) -> None:
        """Let new connections and requests go to the target while the client is away."""
        if self._stealer is not None:
            self._stealer.pause()

    def go_on(self) -> None:
        """Steal again: the client is back. The session ends where that cannot be."""
        if self._stealer is None:
            return
        try:
            self._stealer.go_on()
        except (AgentError, OSError) as error:
            self._channel.close(f"connections cannot be stolen again: {error}")

    async def drained(self) -> None:
        """Steal nothing more, and wait until no connection is left; then no trace is."""
        if self._stealer is None:
            return
        try:
            await self._stealer.drained()
        finally:
            self._stealer.close()

    async def _open(self, *, filtered: bool) -> Stealer:
        async with self._opening:
            if self._stealer is None:
                meshed = await asyncio.to_thread(is_meshed)
                try:
                    redirection = open_redirection(
                        loopback_only=meshed, filtered=filtered, reserved=self._reserved
                    )
                except AgentError as error:
                    raise RequestFailed(errno.EOPNOTSUPP, str(error)) from None
                self._stealer = Stealer(redirection, open_local=self._open_local)
            return self._stealer

    def _flush(self, port: int) -> None:
        try:
            if count := reset_established(port):
                self.counts["connections reset"] += count
        except OSError as error:
            self._channel.emit(NotFlushed(port=port, errno=error.errno or errno.EIO))

    async def _open_local(self, stolen: Stolen) -> Stream:
        if self._channel.closed.done():
            raise OSError(errno.ECONNRESET, "the session of the local program has ended")
        self.counts["connections"] += 1
        stream = self._channel.open_stream()
        self._channel.emit(
            Arrived(
                stream=stream.id,
                port=stolen.destination.port,
                remote=_address(stolen.peer),
                local=_address(stolen.destination),
            )
        )
        return stream

    def _decided(self, _: Request, side: Side) -> None:
        self.counts[_COUNTED[side]] += 1

    def _stop_all(self) -> None:
        if self._stealer is not None:
            self._stealer.stop_all()


_COUNTED: Final = {Side.LOCAL: "requests", Side.ORIGINAL: "requests left to the target"}


def read_filter(text: str) -> HttpFilter | None:
    """Return the filter of a request, None where everything matches; raise RequestFailed for one that is
    none.
    """
    if not text:
        return None
    try:
        return HttpFilter.model_validate(json.loads(text))
    except (ValidationError, ValueError, RecursionError):
        # the client has looked at it by the same code
        raise RequestFailed(errno.EINVAL, os.strerror(errno.EINVAL)) from None


def _address(end: Endpoint) -> Address:
    """Return the address without its scope, which means nothing elsewhere."""
    return Address(host=end.host.partition("%")[0], port=end.port)
