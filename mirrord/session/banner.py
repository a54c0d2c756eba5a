"""The lines that say, before the program starts, what is remote and what is local, and in the end what was
asked for.
"""

from collections.abc import Iterator, Mapping

from mirrord.config.model import Settings
from mirrord.session.remote import Remote


def banner(settings: Settings, target: str, remote: Remote) -> Iterator[str]:
    """Describe the session, a line for each kind of thing."""
    feature = settings.feature
    yield f"target {target}"
    yield f"remote: {', '.join(remote_things(settings, remote)) or 'nothing'}"
    if local := ", ".join(_local(settings)):
        yield f"local: {local}"
    if feature.fs.mode != "local":
        yield f"files: {_FILES[feature.fs.mode]}"


_FILES = {
    "read": "read in the target, written here; programs, libraries, /etc, /usr, /home, /tmp … are local",
    "localwithoverrides": "local, but for names, certificates and what the configuration names",
    "write": "read and written in the target",
}


def remote_things(settings: Settings, remote: Remote) -> Iterator[str]:
    """Name what is remote."""
    feature = settings.feature
    network = feature.network
    yield "environment"
    if feature.hostname:
        yield f"host name ({remote.hostname.decode(errors='replace')})"
    if network.dns.enabled:
        yield "DNS"
    if network.outgoing.tcp:
        yield "outgoing TCP"
    if network.outgoing.udp:
        yield "outgoing UDP"


def _local(settings: Settings) -> Iterator[str]:
    feature = settings.feature
    network = feature.network
    if not feature.hostname:
        yield "host name"
    if not network.dns.enabled:
        yield "DNS"
    if not network.outgoing.tcp:
        yield "outgoing TCP"
    if not network.outgoing.udp:
        yield "outgoing UDP"
    yield "incoming traffic"
    if feature.fs.mode == "local":
        yield "files"


def epilogue(requests: Mapping[str, int]) -> str:
    """Say what the agent was asked."""
    counted = ", ".join(f"{name} {count}" for name, count in sorted(requests.items()))
    return f"the agent answered: {counted}"
