import socket

import pytest

from mirrord.dispatch import bound as module
from mirrord.dispatch.bound import Bound, BoundSockets, HeldListeners
from mirrord.link.addresses import Peer
from mirrord.link.connections import Cookie


def bound(port: int, *, actual: int = 0) -> Bound:
    return Bound(requested=Peer("0.0.0.0", port), port=actual or port, why="", inode=port, tid=1, fd=3)


def test_what_asked_for_another_address_is_told_apart() -> None:
    sockets = BoundSockets(lambda wanted: None)
    sockets.add(Cookie(1), bound(80), differs=False)
    assert not sockets
    sockets.add(Cookie(2), bound(80, actual=8000), differs=True)
    assert sockets
    assert sockets.requested(Cookie(1)) is None
    assert sockets.requested(Cookie(2)) == Peer("0.0.0.0", 80)
    assert list(sockets.ports_for(80)) == [80, 8000]
    assert sockets.get(Cookie(2)) == bound(80, actual=8000)


def test_only_what_the_program_still_has_asked_for_a_port() -> None:
    with socket.socket() as sock:
        sockets = BoundSockets(lambda wanted: sock.dup() if wanted.inode == 81 else None)
        sockets.add(Cookie(1), bound(80), differs=False)
        sockets.add(Cookie(2), bound(81), differs=False)
        assert list(sockets.asked_for(80)) == []
        ((found, duplicate),) = sockets.asked_for(81)
        assert found == bound(81)
        assert duplicate.fileno() == -1


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    sockets = BoundSockets(lambda wanted: None)
    for number in range(1, 10):
        sockets.add(Cookie(number), bound(number, actual=99), differs=True)
    assert [sockets.get(Cookie(number)) is not None for number in range(1, 10)] == [False] * 6 + [True] * 3
    assert sockets.requested(Cookie(1)) is None


def test_a_duplicate_counts_until_it_is_closed_or_dropped() -> None:
    held = HeldListeners()
    one, other = socket.socket(), socket.socket()
    held.add(one, 80)
    held.add(other, 81)
    assert held.holds(80)
    one.close()
    assert not held.holds(80)
    assert held.holds(81)
    assert not held.holds(82)
    other.close()
