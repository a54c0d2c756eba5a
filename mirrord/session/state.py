"""What is told of a session's connections and link, and what happens there beside the calls."""

import time
from collections.abc import Iterator

from mirrord_agent.wire.channel import Channel

from mirrord.dispatch.world import World
from mirrord.feed.models import Connection, LinkState, Note, State
from mirrord.link.names import described


def state(world: World, channel: Channel) -> State:
    """Return how things are now."""
    traffic = channel.traffic
    link = LinkState(round_trip=traffic.round_trip, sent=traffic.sent, received=traffic.received)
    return State(connections=(*_streams(world), *_incoming(world), *_datagrams(world)), link=link)


def _streams(world: World) -> Iterator[Connection]:
    for connection, (sent, received) in world.connections.look():
        yield Connection(
            id=connection.cookie,
            protocol="tcp",
            remote=str(connection.remote),
            local=str(connection.local or ""),
            program=str(connection.program),
            state=connection.state.name.lower(),
            sent=sent,
            received=received,
        )


def _incoming(world: World) -> Iterator[Connection]:
    if world.incoming is None:
        return
    state = {"mirror": "mirrored", "steal": "stolen"}[world.incoming.mode]
    for source, names, (sent, received) in world.incoming.look():
        yield Connection(
            id=source.port,
            protocol="tcp",
            remote=str(names.remote),
            local=str(names.local),
            program=str(source),
            state=state,
            sent=sent,
            received=received,
        )


def _datagrams(world: World) -> Iterator[Connection]:
    for association, peer, (sent, received) in world.datagrams.look():
        port = association.ports.get(peer.family, 0)
        yield Connection(
            id=association.cookie,
            protocol="udp",
            remote=str(peer),
            local=str(world.pod_address(peer, port) or "") if port else "",
            program=str(association.program),
            state="connected" if association.connected == peer else "open",
            sent=sent,
            received=received,
        )


def dns_note(message: bytes) -> Note | None:
    """Return what a DNS message says, None for one that cannot be read."""
    found = described(message)
    if found is None:
        return None
    kind, text = found
    return Note(
        time=time.monotonic_ns(), kind=kind, text=text, packet=message.hex() if kind == "answer" else ""
    )


def file_note(path: bytes, size: int, cached: bool) -> Note:
    """Return what is told of a remote file that was opened."""
    text = path.decode("utf-8", "backslashreplace")
    return Note(time=time.monotonic_ns(), kind="file", text=text, size=size, cached=cached)
