"""The lines that say, before the program starts, what is remote and what is local, and in the end what was
asked for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from mirrord_agent.wire.messages import Statistics

from mirrord.config.incoming import Incoming, Mode
from mirrord.config.model import Settings
from mirrord.session.remote import Remote


def banner(settings: Settings, target: str, remote: Remote, *, environment: bool = True) -> Iterator[str]:
    """Describe the session, a line for each kind of thing; ``environment`` tells whether the program has the
    target's.
    """
    feature = settings.feature
    yield f"target {target}"
    yield f"remote: {', '.join(remote_things(settings, remote, environment=environment)) or 'nothing'}"
    if local := ", ".join(_local(settings)):
        yield f"local: {local}"
    if feature.fs.mode != "local":
        yield f"files: {_FILES[feature.fs.mode]}"


_TAKEN = {"mirror": "mirrored", "steal": "stolen", "off": "local"}
_REMOTE_FILES = {
    "read": "files (read)",
    "localwithoverrides": "some files",
    "write": "files (read and written)",
}
_FILES = {
    "read": "read in the target, written here; programs, libraries, /etc, /usr, /home, /tmp … are local",
    "localwithoverrides": "local, but for names, certificates and what the configuration names",
    "write": "read and written in the target",
}


def remote_things(settings: Settings, remote: Remote, *, environment: bool = True) -> Iterator[str]:
    """Name what is remote; ``environment`` tells whether the program has the target's."""
    feature = settings.feature
    network = feature.network
    if environment:
        yield "environment"
    if feature.hostname:
        yield f"host name ({remote.hostname.decode(errors='replace')})"
    if network.dns.enabled:
        yield "DNS"
    if network.outgoing.tcp:
        yield "outgoing TCP"
    if network.outgoing.udp:
        yield "outgoing UDP"
    if network.incoming.mode != "off":
        yield f"incoming TCP ({_incoming(network.incoming)})"


def remote_files(settings: Settings) -> Iterator[str]:
    """Name which files are remote."""
    if found := _REMOTE_FILES.get(settings.feature.fs.mode):
        yield found


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
    if network.incoming.mode == "off":
        yield "incoming traffic"
    if feature.fs.mode == "local":
        yield "files"


def _incoming(incoming: Incoming) -> str:
    filtered = incoming.http_filter.described()
    return f"{_TAKEN[incoming.mode]}{filtered and ': '}{filtered}"


def arrived(agents: Sequence[Statistics], mode: Mode) -> str:
    """Say what became of connections that reached subscribed ports, at the agents of all pods; empty where
    there were none.
    """
    incoming: Counter[str] = Counter()
    for one in agents:
        incoming.update(one.incoming)
    where = f" at {len(agents)} pods" if len(agents) > 1 else ""
    return f"{_TAKEN[mode]}{where}: {_counted(incoming)}" if incoming else ""


def answered(statistics: Statistics) -> str:
    """Say what the agent was asked."""
    return f"the agent answered: {_counted(statistics.requests)}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
