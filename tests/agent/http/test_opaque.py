"""Connections that are not looked into."""

from mirrord_agent.http.opaque import Opaque
from mirrord_agent.http.output import Server, Side

from .world import World

SERVER = Server(Side.ORIGINAL, 0)
OTHER = Server(Side.LOCAL, 1)


def test_bytes_and_ends_pass_each_way_by_themselves() -> None:
    world = World(Opaque(SERVER))
    world.write(b"one")
    world.answer(Side.ORIGINAL, b"two")
    world.close(Side.ORIGINAL)
    assert world.client_fin == 1
    world.write(b"three")
    world.end()
    assert (world.got(Side.ORIGINAL), bytes(world.client)) == (b"onethree", b"two")
    assert world.ended == {SERVER}
    assert (world.splitter.undecided, world.splitter.full, world.splitter.give_up()) == (False, False, [])


def test_a_loss_is_a_reset() -> None:
    world = World(Opaque(SERVER))
    world.write(b"one")
    world.lose(Side.ORIGINAL, "refused")
    assert (world.client_reset, world.forgotten) == (1, {SERVER})


def test_other_servers_are_not_heard() -> None:
    splitter = Opaque(SERVER)
    assert splitter.server_data(OTHER, b"x") == []
    assert splitter.server_eof(OTHER) == []
    assert splitter.server_lost(OTHER, "") == []
