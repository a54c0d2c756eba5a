"""Where connections are made and names resolved.

These are the rules of ``feature.network.outgoing`` and ``feature.network.dns``, compiled.

Names in a filter are compared with the names that an address is known by from the DNS answers that passed
through. A short name (``web``) also means what the target's search list makes of it
(``web.default.svc.cluster.local``).
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Literal, NamedTuple, Self

from mirrord.config.features import Network, Outgoing
from mirrord.config.model import Settings
from mirrord.config.patterns import compile_pattern
from mirrord.config.selectors import IPAddress, Selector, normalise_name, parse_selector

Protocol = Literal["tcp", "udp"]


class Judgement(NamedTuple):
    """Whether something is of the target, None where that depends on an address not known, and the rule."""

    remote: bool | None
    rule: str


class OutgoingRules:
    """Decides by destination."""

    def __init__(self, outgoing: Outgoing, *, search: Collection[str] = ()) -> None:
        self._protocols: Final = {"tcp": outgoing.tcp, "udp": outgoing.udp}
        self._ignore_localhost: Final = outgoing.ignore_localhost
        self._entries: Final = outgoing.filter.remote or outgoing.filter.local or ()
        self._selectors: Final = _selectors(self._entries)
        self._on_match: Final = outgoing.filter.remote is not None
        self._search: Final = _normalised(search)
        self._unix: Final = [compile_pattern(pattern) for pattern in outgoing.unix_streams]

    @classmethod
    def from_settings(cls, settings: Settings, *, search: Collection[str] = ()) -> Self:
        """Compile the rules of a session; ``search`` is the search list of the target's resolv.conf."""
        return cls(settings.feature.network.outgoing, search=search)

    @property
    def tcp(self) -> bool:
        """Whether any TCP connection can be remote."""
        return self._protocols["tcp"]

    @property
    def udp(self) -> bool:
        """Whether any datagram can be remote."""
        return self._protocols["udp"]

    @property
    def unix(self) -> bool:
        """Whether any unix stream can be remote."""
        return bool(self._unix)

    @property
    def names(self) -> frozenset[str]:
        """The host names in the filter."""
        return frozenset(selector.name for selector in self._selectors if selector.name is not None)

    @property
    def search(self) -> tuple[str, ...]:
        """The search list that short names stand before."""
        return self._search

    def why(self, protocol: Protocol, address: str | IPAddress, port: int, names: Iterable[str] = ()) -> str:
        """Return the rule that decides on a destination, for people; raise ValueError as :meth:`decide`."""
        return self.judge(protocol, address, port, names).rule

    def judge(
        self, protocol: Protocol, address: str | IPAddress | None, port: int, names: Iterable[str] = ()
    ) -> "Judgement":
        """Decide on a destination and say by which rule; without an address, of a name alone.

        Raises ValueError as :meth:`decide`.
        """
        if not self._protocols[protocol]:
            return Judgement(False, f"`feature.network.outgoing.{protocol}` is off")
        ip = parse_address(address) if isinstance(address, str) else address and _unmapped(address)
        if self._ignore_localhost and ip is not None and (ip.is_loopback or ip.is_unspecified):
            return Judgement(False, "`feature.network.outgoing.ignore_localhost` is on")
        if not self._selectors:
            return Judgement(True, "connections are made from the target")
        known = set().union(*(_forms(name, self._search) for name in names))
        filter = f"`feature.network.outgoing.filter.{'remote' if self._on_match else 'local'}`"
        for entry, selector in zip(self._entries, self._selectors, strict=True):
            if selector.matches(protocol, ip, port, known):
                return Judgement(self._on_match, f"{filter} has `{entry}`")
        if ip is None and (entry := self._by_address(protocol, port)):
            return Judgement(None, f"{filter} has `{entry}`")
        return Judgement(not self._on_match, f"nothing in {filter} matches")

    def _by_address(self, protocol: Protocol, port: int) -> str:
        """Return an entry that is about addresses and may match, if there is one."""
        pairs = zip(self._entries, self._selectors, strict=True)
        found = (entry for entry, one in pairs if one.network is not None and one.covers(protocol, port))
        return next(found, "")

    def decide(
        self, protocol: Protocol, address: str | IPAddress, port: int, names: Iterable[str] = ()
    ) -> bool:
        """Tell whether a destination is reached from the target.

        ``names`` are those that the address is known by. Raises ValueError for a text that is no address.
        """
        if not self._protocols[protocol]:
            return False
        ip = parse_address(address) if isinstance(address, str) else _unmapped(address)
        if self._ignore_localhost and (ip.is_loopback or ip.is_unspecified):
            return False
        if not self._selectors:
            return True
        known = set().union(*(_forms(name, self._search) for name in names))
        matched = any(selector.matches(protocol, ip, port, known) for selector in self._selectors)
        return matched == self._on_match

    def decide_unix(self, path: bytes) -> bool:
        """Tell whether the unix socket at ``path`` is the target's.

        An abstract one has its NUL in front, and matches with ``@`` in its place or nothing.
        """
        text = path.decode("utf-8", "surrogateescape")
        forms = (f"@{text[1:]}", text[1:]) if text.startswith("\0") else (text,)
        return any(pattern.search(form) for pattern in self._unix for form in forms)


class DnsRules:
    """Decides by name who resolves it."""

    def __init__(self, network: Network, *, search: Collection[str] = ()) -> None:
        self.enabled: Final = network.dns.enabled
        own, outgoing = network.dns.filter, network.outgoing.filter
        self._filtered_by: Final[dict[str, frozenset[str]]] = {
            "dns.filter.remote": _names(own.remote),
            "outgoing.filter.remote": _names(outgoing.remote) if own.remote is not None else frozenset(),
            "dns.filter.local": _names(own.local),
            "outgoing.filter.local": _names(outgoing.local),
        }
        self._remote: Final = _names(own.remote) | _names(outgoing.remote) if own.remote is not None else None
        # A name whose connections are made locally is resolved locally too: the cluster's address would lead
        # nowhere here.
        self._local: Final = _names(own.local) | _names(outgoing.local)
        self._search: Final = _normalised(search)

    @classmethod
    def from_settings(cls, settings: Settings, *, search: Collection[str] = ()) -> Self:
        """Compile the rules of a session; ``search`` is the search list of the target's resolv.conf."""
        return cls(settings.feature.network, search=search)

    @property
    def filtered(self) -> bool:
        """Whether names differ in their treatment, so that questions have to be read."""
        return self.enabled and (self._remote is not None or bool(self._local))

    def decide(self, name: str) -> bool:
        """Tell whether a name is resolved in the target."""
        if not self.enabled:
            return False
        forms = _forms(name, self._search)
        if not forms.isdisjoint(self._local):
            return False
        return self._remote is None or not forms.isdisjoint(self._remote)

    def judge(self, name: str) -> Judgement:
        """Decide on a name as :meth:`decide`, and say by which rule."""
        remote = self.decide(name)
        if not self.enabled:
            return Judgement(remote, "`feature.network.dns` is off")
        forms = _forms(name, self._search)
        for key, names in self._filtered_by.items():
            # a filter of the other side has no say
            if key.endswith("remote" if remote else "local") and (found := sorted(forms & names)):
                return Judgement(remote, f"`feature.network.{key}` has `{found[0]}`")
        if remote:
            return Judgement(remote, "`feature.network.dns` is on")
        return Judgement(remote, "nothing in `feature.network.dns.filter.remote` matches")


@lru_cache(maxsize=4096)
def parse_address(text: str) -> IPAddress:
    """Return the address in a text, without its zone, a v4-mapped one as IPv4; raise ValueError."""
    return _unmapped(ip_address(text.partition("%")[0]))


def _unmapped(address: IPAddress) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _selectors(entries: Iterable[str] | None) -> tuple[Selector, ...]:
    return tuple(parse_selector(entry) for entry in entries or ())


def _names(entries: Iterable[str] | None) -> frozenset[str]:
    return frozenset(selector.name for selector in _selectors(entries) if selector.name is not None)


def _normalised(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(normalise_name(name) for name in names)


def _forms(name: str, search: tuple[str, ...]) -> set[str]:
    """Return a name, and the shorter ones that the search list makes it of."""
    name = normalise_name(name)
    return {name} | {name.removesuffix(f".{domain}") for domain in search}
