"""The cluster's DNS server: a service has an IPv4 and an IPv6 address, and there is no other name."""

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from mirrord.targets.sandbox.contract import DNS, DOMAIN, NAMESPACE, SERVICES, Host
from mirrord.targets.sandbox.services.address import addresses, bound, serve_tcp

if TYPE_CHECKING:
    import dns.message

_PORT: Final = 53
_TTL: Final = 5
_UDP_SIZE: Final = 1232
_ZONE: Final = f"{DOMAIN}."
_HOSTS: Final = {f"{name}.{NAMESPACE}.svc.{_ZONE}": host for name, host in SERVICES.items()}
# RFC 8020: a name that others end with exists, though it has no records.
_EMPTY: Final = frozenset((_ZONE, f"svc.{_ZONE}", f"{NAMESPACE}.svc.{_ZONE}"))


def answer(query: bytes, *, udp: bool) -> bytes | None:
    """Return the response to a query (RFC 1035), or None where not even an error can be told."""
    # Kept out of the sandbox's start: takes longer than all the rest of it.
    import dns.exception
    import dns.flags
    import dns.message
    import dns.opcode
    import dns.rcode

    try:
        message = dns.message.from_wire(query)
    except dns.exception.DNSException:
        if len(query) < 12 or query[2] & 0x80:
            return None
        # The header alone: id, QR with the query's opcode, RCODE 1 (format error).
        return query[:2] + bytes((0x80 | query[2] & 0x79, 1)) + bytes(8)
    if message.flags & dns.flags.QR:
        return None
    response = dns.message.make_response(message, recursion_available=True)
    if message.opcode() != dns.opcode.QUERY or len(message.question) != 1:
        response.set_rcode(dns.rcode.NOTIMP)
    else:
        _fill(response)
    size = (max(message.payload, 512) if message.edns >= 0 else 512) if udp else 65535
    try:
        return response.to_wire(max_size=size)
    except dns.exception.TooBig:
        return response.to_wire(max_size=65535) if not udp else None


def _fill(response: "dns.message.Message") -> None:
    import dns.flags
    import dns.rcode
    import dns.rdataclass
    import dns.rdatatype
    import dns.rrset

    question = response.question[0]
    name = question.name.to_text().lower()
    response.flags |= dns.flags.AA
    host = _HOSTS.get(name) if question.rdclass == dns.rdataclass.IN else None
    for kind, address in _records(host):
        if question.rdtype in (dns.rdatatype.from_text(kind), dns.rdatatype.ANY):
            response.answer.append(dns.rrset.from_text(question.name, _TTL, "IN", kind, address))
    if response.answer:
        return
    if host is None and name not in _EMPTY:
        response.set_rcode(dns.rcode.NXDOMAIN)
    soa = f"ns.dns.{_ZONE} hostmaster.{_ZONE} 1 7200 1800 86400 {_TTL}"
    response.authority.append(dns.rrset.from_text(_ZONE, _TTL, "IN", "SOA", soa))


def _records(host: Host | None) -> list[tuple[str, str]]:
    if host is None:
        return []
    kinds = {4: "A", 6: "AAAA"}
    return [(kinds[address.version], str(address)) for address in addresses(host)]


def _answer_datagrams(item: socket.socket) -> None:
    for _ in range(64):
        try:
            query, peer = item.recvfrom(65536)
            if (response := answer(query, udp=True)) is not None:
                item.sendto(response, peer)
        except BlockingIOError:
            return
        except OSError:
            # The asker of an earlier query has gone.
            continue


class _Stream(asyncio.Protocol):
    """Queries over TCP: a size in two bytes before each message (RFC 7766)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 2 and len(self._buffer) >= (
            end := 2 + int.from_bytes(self._buffer[:2], "big")
        ):
            response = answer(bytes(self._buffer[2:end]), udp=False)
            del self._buffer[:end]
            if response is None:
                self._transport.close()
                return
            self._transport.write(len(response).to_bytes(2, "big") + response)


async def serve() -> list[object]:
    """Answer queries at the cluster's DNS addresses while the result lives; raises OSError."""
    sockets = [bound(socket.SOCK_DGRAM, address, _PORT) for address in addresses(DNS)]
    for item in sockets:
        asyncio.get_running_loop().add_reader(item.fileno(), _answer_datagrams, item)
    return [*sockets, *await serve_tcp(DNS, _PORT, _Stream)]
