"""The mirrored ports of one client: capture, reassembly and copies put together."""

import errno
import os
from functools import partial
from typing import Final

from mirrord_agent.http.output import Decider
from mirrord_agent.mirror.capture import Capture
from mirrord_agent.mirror.copies import StreamCopy, Waiting
from mirrord_agent.mirror.flows import Copy, Flows
from mirrord_agent.mirror.matching import MatchingCopy
from mirrord_agent.mirror.packets import End
from mirrord_agent.mirror.socket_filter import MOST_PORTS
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.messages import PacketsLost


class Mirror:
    """Copies connections to the ports that are added; captures only while there are any."""

    def __init__(self, channel: Channel, *, loopback_only: bool = False) -> None:
        """``loopback_only`` is for pods of a service mesh, where all else is encrypted."""
        self._channel: Final = channel
        self._loopback_only: Final = loopback_only
        self._flows: Final = Flows(self._begin)
        self._waiting: Final = Waiting()
        self._deciders: Final[dict[int, Decider | None]] = {}
        """By port, who decides what is copied; None for everything."""
        self._capture: Capture | None = None
        channel.closed.add_done_callback(lambda _: self.close())

    @property
    def counts(self) -> dict[str, int]:
        """What has happened so far."""
        return dict(self._flows.counts)

    def add(self, port: int, decider: Decider | None = None) -> None:
        """Copy connections to a port from now on, with a decider only the requests that it takes.

        Raises OSError: EPERM without CAP_NET_RAW, ENOSPC.
        """
        ports = self._flows.ports | {port}
        if len(ports) > MOST_PORTS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._capture is None:
            self._capture = Capture(
                self._channel.loop,
                self._flows.take,
                lost=self._packets_lost,
                tick=self._forget_idle,
                loopback_only=self._loopback_only,
            )
        self._deciders[port] = decider
        self._flows.add(port)
        self._capture.take_ports(ports)

    def remove(self, port: int) -> None:
        """Copy no further connections to a port; those that are copied go on."""
        self._flows.remove(port)
        self._forget_idle()

    def close(self) -> None:
        """Capture nothing any more."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None

    def _begin(self, client: End, local: End) -> Copy:
        begin = partial(StreamCopy, self._channel, client, local, self._waiting)
        decider = self._deciders.get(local.port)
        return begin() if decider is None else MatchingCopy(decider, begin)

    def _packets_lost(self, count: int) -> None:
        self._flows.counts["packets lost"] += count
        self._channel.emit(PacketsLost(count=count))

    def _forget_idle(self) -> None:
        if not self._flows.forget_idle() or self._capture is None:
            return
        if ports := self._flows.ports:
            self._capture.take_ports(ports)
        else:
            self.close()
