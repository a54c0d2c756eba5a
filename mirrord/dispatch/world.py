"""Everything that a handler may ask: the rules of the session and what is known of the remote side."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from mirrord.config.incoming import IncomingRules
from mirrord.config.outgoing import DnsRules, OutgoingRules
from mirrord.config.paths import PathRules
from mirrord.dispatch.bound import BoundSockets, HeldListeners
from mirrord.link.addresses import DNS_PORT, Peer
from mirrord.link.connections import Connections
from mirrord.link.datagrams import Datagrams
from mirrord.link.files import RemoteFiles
from mirrord.link.incoming import Incoming
from mirrord.link.names import KnownNames
from mirrord.link.unix import UnixConnections
from mirrord.syscall import Handler, Tid


@dataclass(slots=True, kw_only=True)
class World:
    """One session, as the handlers see it."""

    ipv6: bool
    """Whether the program may have IPv6 sockets."""
    hostname: bytes | None
    """The target's, None when it is not taken."""
    addresses: dict[socket.AddressFamily, str]
    """The pod's own address in each family that it has."""
    paths: PathRules
    outgoing: OutgoingRules
    dns: DnsRules
    connections: Connections
    unix: UnixConnections
    datagrams: Datagrams
    incoming: Incoming | None
    """None when no connection is taken from the target."""
    bound: BoundSockets
    incoming_rules: IncomingRules
    files: RemoteFiles
    names: KnownNames
    forget_thread: Callable[[Tid], None]
    """Look at this thread afresh: it is about to execute another program."""
    forget_threads: Callable[[], None]
    """Look at every thread afresh: one is about to change its namespaces or its root."""
    inform: Callable[[str], None]
    """Say one line to the user."""
    returning_from_signal: Handler | None = None
    """The tracer's own decision of ``rt_sigreturn``, None where it needs none."""
    held_listeners: HeldListeners = field(default_factory=HeldListeners)
    own_listeners: set[int] = field(default_factory=set)
    """Inodes of the program's listening TCP sockets."""
    own_datagram_sockets: set[int] = field(default_factory=set)
    """Inodes of the program's UDP sockets that it has bound itself."""

    @property
    def has_network(self) -> bool:
        """Whether any connection, datagram or question can be remote."""
        return self.has_outgoing or self.incoming_rules.enabled

    @property
    def has_outgoing(self) -> bool:
        """Whether any connection or datagram of the program can go to the pod."""
        return self.outgoing.tcp or self.outgoing.udp or self.outgoing.unix or self.dns.enabled

    def is_remote_stream(self, peer: Peer) -> bool:
        """Tell whether a TCP connection to ``peer`` is made in the pod."""
        if peer.port == DNS_PORT:
            return self.dns.enabled
        return self.outgoing.decide("tcp", peer.host, peer.port, self.names.of(peer.host))

    def is_remote_datagram(self, peer: Peer) -> bool:
        """Tell whether a datagram for ``peer`` is sent from the pod."""
        if peer.port == DNS_PORT:
            return self.dns.enabled
        if is_group(peer):
            return False
        return self.outgoing.decide("udp", peer.host, peer.port, self.names.of(peer.host))

    def pod_address(self, remote: Peer, port: int) -> Peer | None:
        """Return the address that a socket has in the pod which speaks to ``remote``, None without a network
        to it.
        """
        if remote.is_loopback:
            return Peer("::1" if remote.family == socket.AF_INET6 else "127.0.0.1", port)
        host = self.addresses.get(remote.family)
        return Peer(host, port) if host else None


def is_group(peer: Peer) -> bool:
    """Tell whether datagrams to the address are multicast or broadcast, which no relay can carry."""
    if peer.family == socket.AF_INET6:
        return peer.host.lower().startswith("ff")
    return 224 <= int(peer.host.partition(".")[0]) <= 239 or peer.host == "255.255.255.255"
