"""What ``mirrord why`` is asked about: a path, a destination or a name, and what the rules say of it.

Nothing is looked up: what depends on an answer of DNS is said to depend on it.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mirrord.config.outgoing import DnsRules, Judgement, OutgoingRules, Protocol, parse_address
from mirrord.config.paths import PathRules
from mirrord.config.selectors import IPAddress
from mirrord.errors import UsageError

_DNS_PORT: Final = 53
_DESTINATION: Final = re.compile(
    r"(?:(?P<protocol>tcp|udp)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/:\[\]]+):(?P<port>\d{1,5})"
)
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_SIDES: Final = {True: "remote", False: "local", None: "remote or local, by its address"}
_BROADCAST: Final = "255.255.255.255"
_NAME_SERVER: Final = {
    True: Judgement(True, "it is a name server's, and names are resolved in the target"),
    False: Judgement(False, "it is a name server's, and `feature.network.dns` is off"),
}
_UNLESS_NAMED: Final = ", unless a DNS answer gives it one of the names there"
_PROTOCOLS: Final[tuple[Protocol, ...]] = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules that a question can be about."""

    paths: PathRules
    outgoing: OutgoingRules
    dns: DnsRules
    ipv6: bool = True


def answers(asked: str, rules: Rules, *, cwd: str, write: bool = False) -> Iterator[str]:
    """Say on which side something is, and by which rule, a line for each part; raise UsageError.

    What has a slash is a path, and so is what is there in ``cwd``; what ends in ``:PORT`` is a destination,
    anything else a name.
    """
    destination = _DESTINATION.fullmatch(asked)
    if destination is not None:
        protocols = [one for one in _PROTOCOLS if destination["protocol"] in (None, one)]
        yield from _of_destination(
            destination["host"].strip("[]"), int(destination["port"]), protocols, rules
        )
    elif _is_path(asked, cwd):
        path = os.path.join(os.fsencode(cwd), os.fsencode(os.path.expanduser(asked)))
        yield rules.paths.why(path, write=write)
    elif _address(asked) is not None:
        raise UsageError(
            f"{asked} has no port, by which rules differ", remedy=f"ask for {_joined(asked, 80)}"
        )
    elif _NAME.fullmatch(asked):
        yield from _of_name(asked, rules)
    else:
        raise UsageError(
            f"`{asked}` is neither a path nor a name nor HOST:PORT",
            remedy="write ./ before the name of a file",
        )


def _is_path(asked: str, cwd: str) -> bool:
    if "/" in asked or asked in (".", "..", "~"):
        return True
    return bool(asked) and os.path.lexists(os.path.join(cwd, asked))


def _of_name(name: str, rules: Rules) -> Iterator[str]:
    remote, rule = rules.dns.judge(name)
    yield f"{name} is resolved {'in the target' if remote else 'on this machine'}: {rule}"


def _of_destination(host: str, port: int, protocols: Sequence[Protocol], rules: Rules) -> Iterator[str]:
    if not 0 < port < 65536:
        raise UsageError(f"{port} is no port", remedy="give one from 1 to 65535")
    address = _address(host)
    if address is None:
        yield from _of_name(host, rules)
    found = {one: _judged(one, host, address, port, rules) for one in protocols}
    if len(set(found.values())) == 1:
        yield _line(_joined(host, port), next(iter(found.values())))
        return
    for one, judgement in found.items():
        yield _line(f"{one}://{_joined(host, port)}", judgement)


def _judged(protocol: Protocol, host: str, address: IPAddress | None, port: int, rules: Rules) -> Judgement:
    if address is not None and address.version == 6 and not rules.ipv6:
        return Judgement(False, "`feature.network.ipv6` is off, so there are no IPv6 sockets")
    if port == _DNS_PORT:
        return _NAME_SERVER[rules.dns.enabled]
    if protocol == "udp" and address is not None and (address.is_multicast or str(address) == _BROADCAST):
        return Judgement(False, "datagrams for a group stay on this machine")
    if address is None:
        known = parse_address("127.0.0.1") if host.rstrip(".").lower() == "localhost" else None
        return _reached(rules.outgoing.judge(protocol, known, port, [host]), known)
    judgement = rules.outgoing.judge(protocol, address, port)
    if rules.outgoing.names and judgement.rule.startswith("nothing in"):
        return judgement._replace(rule=f"{judgement.rule}{_UNLESS_NAMED}")
    return _reached(judgement, address)


def _reached(judgement: Judgement, address: IPAddress | None) -> Judgement:
    if judgement.remote and address is not None and address.is_loopback:
        return judgement._replace(rule=f"{judgement.rule}; what the program itself listens on is local")
    return judgement


def _line(what: str, judgement: Judgement) -> str:
    return f"{what} is {_SIDES[judgement.remote]}: {judgement.rule}"


def _address(text: str) -> IPAddress | None:
    try:
        return parse_address(text.strip("[]"))
    except ValueError:
        return None


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
