"""Who answers a DNS question: the target's name server, or by rule this machine's own.

Questions are read only where the session has rules about names (``feature.network.dns.filter``), and only
those in datagrams: a resolver comes with TCP when an answer was too long, and then asks the target.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

from mirrord.link.addresses import Peer

_RESOLV_CONF: Final = "/etc/resolv.conf"
_TIMEOUT: Final = 10.0
"""Seconds after which a question to the local name server is forgotten; the program asks again long before.
"""
_MOST: Final = 65_535
Reply = Callable[[bytes], None]


class LocalResolver:
    """Puts the questions that are this machine's to its own name server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, is_remote: Callable[[str], bool]) -> None:
        self._loop: Final = loop
        self._is_remote: Final = is_remote
        self._server: Final = _name_server()

    def takes(self, question: bytes, reply: Reply) -> bool:
        """Answer a question that is ours by calling ``reply`` later; return False for one that is the
        target's.
        """
        name = _asked(question)
        if name is None or self._is_remote(name):
            return False
        asking = socket.socket(
            self._server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        asking.connect((self._server.host, self._server.port))
        self._loop.add_reader(asking, self._answered, asking, reply)
        self._loop.call_later(_TIMEOUT, self._close, asking)
        asking.send(question)
        return True

    def _answered(self, asking: socket.socket, reply: Reply) -> None:
        try:
            answer = asking.recv(_MOST)
        except BlockingIOError:
            return
        except OSError:
            # nobody serves names here: the program meets its own time-out, as it would without us
            self._close(asking)
            return
        self._close(asking)
        reply(answer)

    def _close(self, asking: socket.socket) -> None:
        if asking.fileno() >= 0:
            self._loop.remove_reader(asking)
            asking.close()


def _asked(question: bytes) -> str | None:
    import dns.exception
    import dns.message

    try:
        message = dns.message.from_wire(question, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    return str(message.question[0].name).rstrip(".").lower() if message.question else None


def _name_server() -> Peer:
    """Return this machine's first name server (resolv.conf(5)), which by default is on the machine itself."""
    if os.path.exists(_RESOLV_CONF):
        with open(_RESOLV_CONF, encoding="latin-1") as lines:
            for words in map(str.split, lines):
                if words[:1] == ["nameserver"] and len(words) > 1:
                    return Peer(words[1].partition("%")[0], 53)
    return Peer("127.0.0.1", 53)
