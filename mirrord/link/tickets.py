"""Accepted connections that the program could not take: they are offered again.

Natively a connection stays in the listener's queue when ``accept`` fails for want of a descriptor, and the
listener stays readable. One that we have accepted for the program cannot be put back. So it is kept, and a
*ticket* is queued in its place: an empty connection of ours to the same listener. Event loops see it as they
would have seen the first; whoever accepts the ticket is given what was kept.
"""

import asyncio
import errno
import socket
from dataclasses import dataclass
from typing import Final

from mirrord.link.addresses import Peer, from_name
from mirrord.link.listeners import Listener, relay_socket, relay_target


@dataclass(frozen=True, slots=True)
class _Kept:
    connection: socket.socket
    peer: Peer
    ticket: socket.socket


class Tickets:
    """What is kept, by the address of its ticket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._kept: Final[dict[Peer, _Kept]] = {}

    def keep(self, accepted: int, *, peer: Peer, listener: Listener) -> None:
        """Keep a connection, our descriptor of which is given, and its peer; from any thread."""
        self._loop.call_soon_threadsafe(self._offer, socket.socket(fileno=accepted), peer, listener)

    def redeem(self, ticket: Peer) -> tuple[socket.socket, Peer] | None:
        """Return the connection, and its peer, that was kept for an accepted ticket; None if it is no ticket.

        From any thread.
        """
        found = self._kept.pop(ticket, None)
        if found is None:
            return None
        self._loop.call_soon_threadsafe(self._close, found.ticket)
        return found.connection, found.peer

    def _offer(self, accepted: socket.socket, peer: Peer, listener: Listener) -> None:
        try:
            ticket = relay_socket(listener)
        except OSError:
            # we have no descriptor left ourselves
            accepted.close()
            return
        source = from_name(ticket.getsockname())
        self._kept[source] = _Kept(accepted, peer, ticket)
        if ticket.connect_ex(relay_target(listener)) in (0, errno.EINPROGRESS):
            # it says so when the listener is closed, or the ticket thrown away by who did not ask whose it is
            self._loop.add_reader(ticket, self._thrown_away, source)
        else:
            self._thrown_away(source)

    def _thrown_away(self, source: Peer) -> None:
        found = self._kept.pop(source, None)
        if found is not None:
            found.connection.close()
            self._close(found.ticket)

    def _close(self, ticket: socket.socket) -> None:
        self._loop.remove_reader(ticket)
        ticket.close()
