"""Sockets that a process had before it was attached to, known as if their calls had been seen."""

from mirrord.dispatch.world import World
from mirrord.link import listeners as listening
from mirrord.link.addresses import from_name
from mirrord.session.opened import datagram_sockets, kernels_ports, listeners


def remember(world: World, pid: int) -> None:
    """Remember the sockets that the process serves on already, as its calls would have told."""
    world.own_listeners.update(one.inode for one in listeners(pid))
    world.own_datagram_sockets.update(one.inode for one in datagram_sockets(pid))


async def subscribe(world: World, pid: int) -> None:
    """Have connections to the target's ports reach the sockets that the process listens on already."""
    if world.incoming is None:
        return
    for one in listeners(pid):
        if world.incoming.listener(one.inode) is not None or (duplicate := one.duplicate()) is None:
            continue
        with duplicate:
            listener, name = listening.Listener.of(duplicate), from_name(duplicate.getsockname())
        if name.port in kernels_ports():
            # most likely nobody asked for it, and nobody else knows it
            continue
        port = world.incoming_rules.remote_port(name.port, is_loopback=name.is_loopback)
        if port is not None:
            await world.incoming.subscribe(port, listener)
