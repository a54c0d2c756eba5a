"""Looks a name up as the target would: its hosts file, its search list, its name servers (resolv.conf(5))."""

import asyncio
import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

from mirrord_agent.wire.channel import Channel, Stream
from mirrord_agent.wire.messages import FileOpened, Opened, OpenFile, OpenTcp

from mirrord.link.addresses import Peer
from mirrord.link.ask import ask

_SMALL: Final = 1 << 20
_PATIENCE: Final = 10.0
_LENGTH: Final = struct.Struct("!H")
"""Over TCP each message comes with its length (RFC 1035, 4.2.2)."""
_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class Resolv:
    """What a resolv.conf says."""

    servers: tuple[str, ...]
    search: tuple[str, ...] = ()
    ndots: int = 1

    @classmethod
    def parse(cls, text: str) -> "Resolv":
        """Read one; the last search list counts."""
        servers: list[str] = []
        search: tuple[str, ...] = ()
        ndots = 1
        for words in map(str.split, text.splitlines()):
            match words:
                case ["nameserver", server, *_]:
                    servers.append(server)
                case ["search" | "domain", *names]:
                    search = tuple(names)
                case ["options", *options]:
                    given = [one[6:] for one in options if one.startswith("ndots:") and one[6:].isdigit()]
                    ndots = int(given[-1]) if given else ndots
        return cls(tuple(servers), search, ndots)

    def candidates(self, name: str) -> list[str]:
        """Return the names to ask for, in their order."""
        if name.endswith("."):
            return [name]
        searched = [f"{name}.{suffix.rstrip('.')}." for suffix in self.search]
        whole = f"{name}."
        return [whole, *searched] if name.count(".") >= self.ndots else [*searched, whole]


class Lookup:
    """Asks through one agent."""

    def __init__(self, channel: Channel) -> None:
        self._channel: Final = channel

    async def address(self, name: str) -> str:
        """Return an address of a name, IPv4 if it has one; raise OSError."""
        if is_address(name):
            return name
        if (known := _in_hosts(await self._read("/etc/hosts"), name)) is not None:
            return known
        resolv = Resolv.parse(await self._read("/etc/resolv.conf"))
        for kind in ("A", "AAAA"):
            for candidate in resolv.candidates(name):
                if found := await self._ask(resolv, candidate, kind):
                    return found
        raise OSError(f"the target knows no name {name}")

    async def _ask(self, resolv: Resolv, name: str, kind: str) -> str | None:
        import dns.message
        import dns.rdatatype

        question = dns.message.make_query(name, kind)
        answer = dns.message.from_wire(await self._exchange(resolv, question.to_wire()))
        wanted = dns.rdatatype.from_text(kind)
        return next((str(one[0]) for one in answer.answer if one.rdtype == wanted), None)

    async def _exchange(self, resolv: Resolv, question: bytes) -> bytes:
        if not resolv.servers:
            raise OSError("the target has no name server")
        async with asyncio.timeout(_PATIENCE):
            stream, _ = await open_tcp(self._channel, Peer(resolv.servers[0], _PORT))
            reader = stream.reader()
            stream.write(_LENGTH.pack(len(question)) + question)
            got = b""
            while len(got) < 2 or len(got) < 2 + _LENGTH.unpack_from(got)[0]:
                piece = await reader.read()
                if not piece:
                    raise OSError("the target's name server ended the connection")
                got += piece
            stream.reset()
            return got[2:]

    async def _read(self, path: str) -> str:
        stream = self._channel.open_stream()
        try:
            await ask(self._channel, OpenFile(stream=stream.id, path=path.encode()), FileOpened)
            return (await stream.reader().read_all(at_most=_SMALL)).decode("latin-1")
        except FileNotFoundError:
            return ""


async def open_tcp(channel: Channel, remote: Peer) -> tuple[Stream, Opened]:
    """Connect from the target; raise OSError with the target's errno."""
    stream = channel.open_stream()
    try:
        opened = await ask(channel, OpenTcp(stream=stream.id, host=remote.host, port=remote.port), Opened)
    except BaseException:
        stream.reset()
        raise
    return stream, opened


def is_address(text: str) -> bool:
    """Tell an address from a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _in_hosts(hosts: str, name: str) -> str | None:
    """Return the address that a hosts file has for a name (hosts(5))."""
    for line in hosts.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name in names:
            return address
    return None
