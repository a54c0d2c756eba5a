"""Put a session's world together: the rules out of the configuration, the remote side out of the link."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial

from mirrord.config.model import Settings
from mirrord.config.outgoing import DnsRules, OutgoingRules
from mirrord.config.paths import PathRules
from mirrord.dispatch.world import World
from mirrord.link.client import Link
from mirrord.link.connections import Connections, UnixConnections
from mirrord.link.datagrams import Datagrams
from mirrord.link.files import RemoteFiles
from mirrord.link.located import Located
from mirrord.link.loopback import Loopback
from mirrord.link.names import KnownNames
from mirrord.link.placeholders import Placeholders
from mirrord.link.resolver import LocalResolver
from mirrord.session.processes import descendants
from mirrord.session.remote import Remote
from mirrord.syscall import Handler, Tid
from mirrord.tracer.find import find_socket

_RESOLV_CONF = b"/etc/resolv.conf"


async def build_world(
    settings: Settings,
    link: Link,
    remote: Remote,
    *,
    tree: str,
    program: Sequence[str],
    forget_thread: Callable[[Tid], None],
    forget_threads: Callable[[], None],
    returning_from_signal: Handler | None,
    find_kept: Callable[[int], socket.socket | None] | None,
) -> World:
    """Return the world of a session; ``tree`` is where placeholders go, ``program`` the program and its
    words.
    """
    find = _find if find_kept is None else partial(_find_kept, find_kept)
    loop = asyncio.get_running_loop()
    files = RemoteFiles(link.channel, Placeholders(tree))
    outgoing = OutgoingRules.from_settings(settings)
    names = KnownNames()
    dns = DnsRules.from_settings(settings)
    if outgoing.names or dns.filtered:
        search = _search(await files.read(_RESOLV_CONF))
        outgoing = OutgoingRules.from_settings(settings, search=search)
        dns = DnsRules.from_settings(settings, search=search)
    return World(
        ipv6=settings.feature.network.ipv6,
        hostname=remote.hostname if settings.feature.hostname else None,
        addresses=remote.addresses,
        paths=_path_rules(settings, program),
        outgoing=outgoing,
        dns=dns,
        connections=Connections(loop, link.channel, Loopback(), find),
        unix=UnixConnections(loop, link.channel),
        datagrams=Datagrams(
            loop,
            link.channel,
            find,
            learn=names.learn if outgoing.names else None,
            resolver=LocalResolver(loop, dns.decide) if dns.filtered else None,
        ),
        files=files,
        names=names,
        forget_thread=forget_thread,
        forget_threads=forget_threads,
        returning_from_signal=returning_from_signal,
    )


def _path_rules(settings: Settings, program: Sequence[str]) -> PathRules:
    home = os.environ.get("HOME")
    return PathRules.from_settings(
        settings,
        cwd=os.getcwdb(),
        home=os.fsencode(home) if home else None,
        tmpdir=os.fsencode(os.environ.get("TMPDIR", "/tmp")),
        executable=os.fsencode(os.path.abspath(program[0])),
        code=[os.fsencode(word) for word in program[1:] if word.startswith("/") and os.path.isfile(word)],
    )


def _find(wanted: Located) -> socket.socket | None:
    return find_socket(tid=wanted.tid, fd=wanted.fd, inode=wanted.inode, among=descendants())


def _find_kept(find: Callable[[int], socket.socket | None], wanted: Located) -> socket.socket | None:
    return find(wanted.inode)


def _search(resolv_conf: bytes) -> tuple[str, ...]:
    """Return the search list (resolv.conf(5)); the last one given counts."""
    found: tuple[str, ...] = ()
    for line in resolv_conf.decode("latin-1").splitlines():
        words = line.split()
        if words[:1] in (["search"], ["domain"]):
            found = tuple(words[1:])
    return found
