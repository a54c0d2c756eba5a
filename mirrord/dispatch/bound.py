"""The program's listening sockets before they listen: which address each asked for, and which it has."""

import socket
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from mirrord.link.addresses import Peer
from mirrord.link.connections import Cookie
from mirrord.link.located import FindSocket

_MOST: Final = 4096


@dataclass(frozen=True, slots=True)
class Bound:
    """One socket that the program has bound to a port of its choice."""

    requested: Peer
    port: int
    """The port that it has on this machine."""
    why: str
    """Why that is another one, empty if it is not."""
    inode: int
    tid: int
    fd: int


class BoundSockets:
    """What was bound, by cookie, the oldest forgotten when there are very many; for the gate's thread."""

    def __init__(self, find_socket: FindSocket) -> None:
        self._find: Final = find_socket
        self._by_cookie: Final[OrderedDict[Cookie, Bound]] = OrderedDict()
        self._elsewhere: Final[dict[Cookie, Peer]] = {}

    def __bool__(self) -> bool:
        return bool(self._elsewhere)

    def add(self, cookie: Cookie, bound: Bound, *, differs: bool) -> None:
        """Remember a socket; ``differs`` tells whether its address is not the one that was asked for."""
        self._by_cookie[cookie] = bound
        if differs:
            self._elsewhere[cookie] = bound.requested
        if len(self._by_cookie) > _MOST:
            oldest, _ = self._by_cookie.popitem(last=False)
            self._elsewhere.pop(oldest, None)

    def get(self, cookie: Cookie) -> Bound | None:
        """Return what is known of a socket."""
        return self._by_cookie.get(cookie)

    def requested(self, cookie: Cookie) -> Peer | None:
        """Return the address that a socket asked for, if it has another."""
        return self._elsewhere.get(cookie)

    def ports_for(self, port: int) -> Iterator[int]:
        """Give the ports that sockets have which asked for this one."""
        return (bound.port for bound in list(self._by_cookie.values()) if bound.requested.port == port)

    def asked_for(self, port: int) -> Iterator[tuple[Bound, socket.socket]]:
        """Give the sockets that the program still has and that asked for a port, each with a duplicate."""
        for bound in list(self._by_cookie.values()):
            if bound.requested.port == port and (found := self._find(bound)) is not None:
                with found:
                    yield bound, found


class HeldListeners:
    """Duplicates of listeners that held calls keep, for as long as they are not closed."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._ports: Final[WeakKeyDictionary[socket.socket, int]] = WeakKeyDictionary()

    def add(self, duplicate: socket.socket, port: int) -> None:
        """Note a duplicate; from any thread."""
        with self._lock:
            self._ports[duplicate] = port

    def holds(self, port: int) -> bool:
        """Tell whether a listener on this port may be there only because of us; from any thread."""
        with self._lock:
            return any(held == port and sock.fileno() >= 0 for sock, held in self._ports.items())
