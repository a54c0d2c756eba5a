"""Connections that reach the target: subscribed ports, and relays to the program's listeners.

The program's listeners are real ones. Each remote connection is a relay of ours that connects to one of them,
from an address by which it is known again when the program accepts it, or asks for its peer. Nothing is kept
of the program's sockets; a listener that it has closed is noticed by its inode being gone.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from mirrord_agent.wire.channel import Channel, Stream
from mirrord_agent.wire.messages import Arrived
from mirrord_agent.wire.pump import Pump
from mirrord_agent.wire.stream import Tap

from mirrord.link.addresses import Peer, from_name
from mirrord.link.inodes import listening
from mirrord.link.listeners import Listener, relay_socket, relay_target
from mirrord.link.places import Mode, Place, Places, Terms, Voice
from mirrord.link.tapping import Flow, Tapping
from mirrord.link.tickets import Tickets

_CLOSED_TICK: Final = 0.25
_QUIET: Final = 0.02
"""Seconds in which a thread that may run gets to do so, on all but the busiest of machines."""
_FLUSH_TICK: Final = 0.005
_MOST_PAST: Final = 4096
"""Connections that have ended, whose names are kept: the program may accept them late."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the two ends of a connection are called in the target."""

    remote: Peer
    local: Peer


@dataclass(slots=True, eq=False)
class Subscription:
    """One port of the target, and the program's listeners that stand for it."""

    port: int
    asked: asyncio.Task[bool]
    """Whether an agent has agreed."""
    listeners: dict[int, Listener] = field(default_factory=dict)
    """By inode."""

    def for_family(self, family: socket.AddressFamily) -> list[Listener]:
        """Return the listeners, those first that serve the network of a connection."""
        return sorted(self.listeners.values(), key=lambda listener: family not in listener.families)


class Incoming:
    """The subscribed ports; read by the gate's thread, changed on the loop only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        channel: Channel,
        *,
        mode: Mode,
        voice: Voice,
        terms: Terms | None = None,
    ) -> None:
        self.tickets: Final = Tickets(loop)
        self._loop: Final = loop
        self.mode: Final = mode
        self._voice: Final = voice
        self._subscriptions: Final[dict[int, Subscription]] = {}
        self._listeners: Final[dict[int, Listener]] = {}
        self._names: Final[dict[Peer, Names]] = {}
        self._past: Final[deque[tuple[Peer, Names]]] = deque()
        self._pumps: Final[dict[Peer, Pump]] = {}
        self._quiet: Final[dict[int, float]] = {}
        """By a listener's inode, until when nothing is brought to it."""
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._tapping: Tapping | None = None
        self.places: Final = Places(channel, self._arrived, mode=mode, voice=voice, terms=terms)

    def __bool__(self) -> bool:
        return bool(self._names)

    def look(self) -> Iterator[tuple[Peer, Names, tuple[int, int]]]:
        """Return the connections that there are, by their addresses here, with the bytes each way."""
        for source, pump in list(self._pumps.items()):
            yield source, self._names[source], pump.traffic

    def show(self, tapping: Tapping | None) -> None:
        """Show connections to somebody from now on, or to nobody any more."""
        self._tapping = tapping
        for source, pump in self._pumps.items():
            pump.show(self._tap(self._names[source]))

    def _tap(self, names: Names) -> Tap | None:
        if self._tapping is None:
            return None
        return self._tapping(Flow("tcp", names.local, names.remote, incoming=True))

    def listener(self, inode: int) -> Listener | None:
        """Return what is known of a listener that stands for a port of the target; from any thread."""
        return self._listeners.get(inode)

    def names(self, peer: Peer) -> Names | None:
        """Return the names of a connection whose peer, on this machine, is that; from any thread."""
        return self._names.get(peer)

    def hold_back(self, listener: Listener) -> None:
        """Bring no connection to a listener for a moment; on the loop.

        A held accept is about to be continued, since its thread has a signal to take. The kernel ends it for
        that, unless there is a connection just then: that would be given without its client's address.
        """
        self._quiet[listener.inode] = self._loop.time() + _QUIET

    # Ports.

    async def subscribe(self, port: int, listener: Listener) -> None:
        """Have connections to a port of the target reach a listener; return once they do."""
        subscription = self._subscriptions.get(port)
        if subscription is None:
            subscription = Subscription(port, self.places.subscribe(port))
            self._subscriptions[port] = subscription
        subscription.listeners[listener.inode] = listener
        self._listeners[listener.inode] = listener
        if self._watch is None:
            self._watch = self._loop.call_later(_CLOSED_TICK, self._drop_closed)
        if not await asyncio.shield(subscription.asked):
            self.places.forget(port)
            self._drop(subscription)

    def _drop_closed(self) -> None:
        """Unsubscribe what the program does not listen to any more; its accepted connections go on."""
        alive = listening()
        for subscription in list(self._subscriptions.values()):
            for inode in [inode for inode in subscription.listeners if inode not in alive]:
                self._drop_listener(subscription, inode)
        self._watch = None
        if self._subscriptions:
            self._watch = self._loop.call_later(_CLOSED_TICK, self._drop_closed)

    def _drop_listener(self, subscription: Subscription, inode: int) -> None:
        subscription.listeners.pop(inode, None)
        self._listeners.pop(inode, None)
        self._quiet.pop(inode, None)
        if not subscription.listeners and self._subscriptions.get(subscription.port) is subscription:
            self._drop(subscription)
            self.places.unsubscribe(subscription.port)

    def _drop(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.port) is subscription:
            del self._subscriptions[subscription.port]
        for inode in subscription.listeners:
            self._listeners.pop(inode, None)

    async def flushed(self) -> None:
        """Wait until what the program answered before it ended has been handed to the agent; of a copy
        nothing is.
        """
        while self.mode == "steal" and any(not pump.read_to_end for pump in self._pumps.values()):
            await asyncio.sleep(_FLUSH_TICK)

    # Connections.

    def _arrived(self, place: Place, event: Arrived) -> None:
        stream = place.channel.stream(event.stream)
        subscription = self._subscriptions.get(event.port)
        if subscription is None:
            stream.reset(errno.ECONNREFUSED)
            return
        if self.mode == "mirror":
            stream.mute()
        names = Names(Peer(event.remote.host, event.remote.port), Peer(event.local.host, event.local.port))
        self._start(self._connect(subscription, stream, names))

    def _start(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, subscription: Subscription, stream: Stream, names: Names) -> None:
        alive = listening()
        for listener in subscription.for_family(names.local.family):
            if listener.inode not in alive:
                # the port may be another program's by now, whom none of this concerns
                self._drop_listener(subscription, listener.inode)
            elif await self._relay(listener, stream, names):
                return
        stream.reset(errno.ECONNREFUSED)

    async def _relay(self, listener: Listener, stream: Stream, names: Names) -> bool:
        """Connect to a listener and begin to copy; return whether that could be done."""
        try:
            sock = relay_socket(listener)
        except OSError:
            return False
        while (delay := self._quiet.get(listener.inode, 0.0) - self._loop.time()) > 0:
            await asyncio.sleep(delay)
        source = from_name(sock.getsockname())
        # before it connects: the program may accept it at once
        self._names[source] = names
        try:
            await self._loop.sock_connect(sock, relay_target(listener))
        except OSError:
            sock.close()
            del self._names[source]
            return False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.tap = self._tap(names)
        pump = Pump(self._loop, sock, stream, on_closed=partial(self._closed, source, stream))
        if not pump.closed:
            self._pumps[source] = pump
        return True

    def _closed(self, source: Peer, stream: Stream) -> None:
        self._pumps.pop(source, None)
        self._past.append((source, self._names[source]))
        if len(self._past) > _MOST_PAST:
            oldest, names = self._past.popleft()
            if self._names.get(oldest) is names:
                del self._names[oldest]
        if self.mode == "mirror" and (why := _CUT.get(stream.errno)) is not None:
            self._voice.warn(f"warning: a mirrored connection was cut: {why}")


_CUT: Final = {
    errno.ENODATA: "the agent has missed a part of it",
    errno.ENOBUFS: "the program took it more slowly than the client sent it",
}
