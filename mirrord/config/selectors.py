"""The syntax of outgoing and DNS filters: ``[PROTOCOL://]HOST[:PORT]``.

PROTOCOL is ``tcp``, ``udp`` or ``any``; HOST a name, an IPv4 address, an IPv6 address in brackets, or a
subnet of these (``10.0.0.0/8``, ``[fd00::]/64``); PORT 0 or nothing is any port, HOST nothing or ``0.0.0.0``
any host. There are no wildcards in names.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_SYNTAX: Final = re.compile(
    r"""(?:(?P<protocol>\w+)://)?
        (?P<host>\[[^\]]*\](?:/\d+)?|[^:/\[\]]*(?:/\d+)?)
        (?::(?P<port>\d+))?""",
    re.VERBOSE,
)
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_HOW: Final = (
    "expected [tcp://|udp://]HOST[:PORT], where HOST is a name, an address, [an IPv6 address] or a subnet"
)


@dataclass(frozen=True, slots=True)
class Selector:
    """One entry of a filter; None and port 0 mean any."""

    protocol: str | None
    name: str | None
    network: IPNetwork | None
    port: int

    def matches(self, protocol: str, address: IPAddress | None, port: int, names: Collection[str]) -> bool:
        """Tell whether a destination is meant; ``names`` are its normalised names, and all that there is to
        know of one without an address.
        """
        if not self.covers(protocol, port):
            return False
        if self.network is not None:
            return address is not None and address in self.network
        return self.name is None or self.name in names

    def covers(self, protocol: str, port: int) -> bool:
        """Tell whether a destination may be meant, by all but its host."""
        return self.protocol in (None, protocol) and self.port in (0, port)


def normalise_name(name: str) -> str:
    """Return a host name as names are compared: lower case, without the final dot of the root."""
    return name.lower().rstrip(".")


def parse_selector(text: str) -> Selector:
    """Parse one entry; raise ValueError with a sentence."""
    if not text.strip():
        raise ValueError("a filter entry must not be empty")
    found = _SYNTAX.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"`{text}` is not a filter entry ({_HOW})")
    protocol = (found["protocol"] or "any").lower()
    if protocol not in ("tcp", "udp", "any"):
        raise ValueError(f"`{text}` has an unknown protocol (expected tcp, udp or any)")
    port = int(found["port"] or 0)
    if port > 65535:
        raise ValueError(f"`{text}` has a port above 65535")
    name, network = _host(found["host"], text)
    return Selector(None if protocol == "any" else protocol, name, network, port)


def _host(host: str, text: str) -> tuple[str | None, IPNetwork | None]:
    """Return a name or a network, or neither for any host."""
    if host in ("", "0.0.0.0"):
        return None, None
    try:
        # A name never starts with a bracket and has no mask, so what is not an address is told apart by these
        # two.
        return None, ip_network(host.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        if not _NAME.fullmatch(host):
            raise ValueError(f"`{text}` is not a filter entry ({_HOW})") from None
    return normalise_name(host), None
