"""Put a session's world together: the rules out of the configuration, the remote side out of the link."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mirrord.config.here import working_directory
from mirrord.config.incoming import IncomingRules
from mirrord.config.model import Settings
from mirrord.config.outgoing import DnsRules, OutgoingRules
from mirrord.config.paths import PathRules
from mirrord.dispatch.bound import BoundSockets
from mirrord.dispatch.world import World
from mirrord.errors import UsageError
from mirrord.link.addresses import DNS_PORT, Peer
from mirrord.link.connections import Connections
from mirrord.link.datagrams import Datagrams
from mirrord.link.files import RemoteFiles
from mirrord.link.incoming import Incoming
from mirrord.link.lead import Lead
from mirrord.link.located import Located
from mirrord.link.loopback import Loopback
from mirrord.link.names import KnownNames
from mirrord.link.placeholders import Placeholders
from mirrord.link.places import Terms, Voice
from mirrord.link.resolver import LocalResolver
from mirrord.link.space import SPACE_VARIABLE, parse_size
from mirrord.link.unix import UnixConnections
from mirrord.session.processes import descendants
from mirrord.session.remote import Remote
from mirrord.session.say import Sayings
from mirrord.syscall import Handler, Tid
from mirrord.tracer.find import find_socket

_RESOLV_CONF = b"/etc/resolv.conf"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the program is, and where it runs: rules of files depend on it."""

    program: Sequence[str]
    """The program and its words."""
    cwd: bytes = field(default_factory=working_directory)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    processes: Callable[[], Iterable[int]] = descendants
    """Where the program's sockets are searched for."""
    name_servers: Sequence[str] = ()
    """Those of this machine, where the program has run already and may ask them."""


async def build_world(
    settings: Settings,
    lead: Lead,
    remote: Remote,
    *,
    tree: str,
    surroundings: Surroundings,
    sayings: Sayings,
    forget_thread: Callable[[Tid], None],
    forget_threads: Callable[[], None],
    returning_from_signal: Handler | None,
    find_kept: Callable[[int], socket.socket | None] | None,
) -> World:
    """Return the world of a session; ``tree`` is where placeholders go."""

    def find(wanted: Located) -> socket.socket | None:
        if find_kept is not None:
            return find_kept(wanted.inode)
        return find_socket(tid=wanted.tid, fd=wanted.fd, inode=wanted.inode, among=surroundings.processes())

    loop = asyncio.get_running_loop()
    files = RemoteFiles(
        lead,
        Placeholders(os.path.realpath(tree), space=_space()),
        inform=sayings.info,
        detail=sayings.detail,
        warn=sayings.warn,
    )
    outgoing = OutgoingRules.from_settings(settings)
    names = KnownNames()
    dns = DnsRules.from_settings(settings)
    if outgoing.names or dns.filtered:
        search = _search(await files.read(_RESOLV_CONF))
        outgoing = OutgoingRules.from_settings(settings, search=search)
        dns = DnsRules.from_settings(settings, search=search)
    substitutes: dict[Peer, Peer] = {}
    if surroundings.name_servers and dns.enabled:
        substitutes = _substitutes(surroundings.name_servers, await files.read(_RESOLV_CONF))
    return World(
        ipv6=settings.feature.network.ipv6,
        hostname=remote.hostname if settings.feature.hostname else None,
        addresses=remote.addresses,
        paths=_path_rules(settings, surroundings, os.path.realpath(tree)),
        outgoing=outgoing,
        dns=dns,
        connections=Connections(loop, lead, Loopback(), find, substitutes=substitutes),
        unix=UnixConnections(loop, lead),
        datagrams=Datagrams(
            loop,
            lead,
            find,
            learn=names.learn if outgoing.names else None,
            resolver=LocalResolver(loop, dns.decide) if dns.filtered else None,
            substitutes=substitutes,
        ),
        incoming=_incoming(settings, lead, remote, sayings),
        bound=BoundSockets(find),
        incoming_rules=IncomingRules(settings.feature.network.incoming),
        files=files,
        names=names,
        forget_thread=forget_thread,
        forget_threads=forget_threads,
        inform=sayings.info,
        returning_from_signal=returning_from_signal,
    )


def _incoming(settings: Settings, lead: Lead, remote: Remote, sayings: Sayings) -> Incoming | None:
    mode = settings.feature.network.incoming.mode
    if mode == "off":
        return None
    name = remote.hostname.decode(errors="replace")
    voice = Voice(name, sayings.info, sayings.warn, probes=remote.probes)
    loop = asyncio.get_running_loop()
    return Incoming(loop, lead.channel, mode=mode, voice=voice, terms=terms(settings))


def terms(settings: Settings) -> Terms:
    """Return which connections are taken, and how."""
    agent, filter = settings.configuration.agent, settings.feature.network.incoming.http_filter
    return Terms(
        filter=filter.as_json(),
        filtered=filter.described(),
        filter_ports=frozenset(filter.ports),
        flush=agent.flush_connections,
        detection_ms=agent.http_detection_timeout * 1000,
        body_ms=agent.max_body_buffer_timeout,
        body_bytes=agent.max_body_buffer_size,
    )


def _space() -> int | None:
    """Return how many bytes of remote files there may be here, None where the user has not said."""
    text = os.environ.get(SPACE_VARIABLE)
    if not text:
        return None
    size = parse_size(text)
    if size is None:
        raise UsageError(
            f"{SPACE_VARIABLE} is {text!r}, which is no size",
            remedy="give bytes, or a size such as 500M or 2G",
        )
    return size


def _path_rules(settings: Settings, surroundings: Surroundings, tree: str) -> PathRules:
    program, environment = surroundings.program, surroundings.environment
    home = environment.get("HOME")
    return PathRules.from_settings(
        settings,
        cwd=surroundings.cwd,
        home=os.fsencode(home) if home else None,
        tmpdir=os.fsencode(environment.get("TMPDIR", "/tmp")),
        executable=os.fsencode(os.path.abspath(program[0])),
        tree=os.fsencode(tree),
        search=os.fsencode(environment.get("PATH", "")).split(b":"),
        code=[os.fsencode(word) for word in program[1:] if word.startswith("/") and os.path.isfile(word)],
    )


def name_servers(resolv_conf: bytes) -> tuple[str, ...]:
    """Return the name servers (resolv.conf(5))."""
    lines = (line.split() for line in resolv_conf.decode("latin-1").splitlines())
    return tuple(words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1)


def _substitutes(local: Sequence[str], resolv_conf: bytes) -> dict[Peer, Peer]:
    """Have the target's name server asked in the place of this machine's: resolvers remember whom to ask."""
    remote = name_servers(resolv_conf)
    return {
        Peer(host, DNS_PORT): Peer(remote[0], DNS_PORT) for host in local if remote and host not in remote
    }


def _search(resolv_conf: bytes) -> tuple[str, ...]:
    """Return the search list (resolv.conf(5)); the last one given counts."""
    found: tuple[str, ...] = ()
    for line in resolv_conf.decode("latin-1").splitlines():
        words = line.split()
        if words[:1] in (["search"], ["domain"]):
            found = tuple(words[1:])
    return found
