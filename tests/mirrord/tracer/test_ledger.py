import os
import signal
from collections.abc import Iterator

import pytest
from mirrord_seccomp.notify import NotificationId

from mirrord.tracer.ledger import Ledger

from .puppet import filtered, nr


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger.create()
    yield made
    made.close()


def other(ledger: Ledger) -> Ledger:
    """The same memory, as another process has it."""
    return Ledger(os.dup(ledger.fd))


def test_nothing_is_owed_at_first(ledger: Ledger) -> None:
    assert list(other(ledger).owed()) == []


def test_what_is_held_is_owed(ledger: Ledger) -> None:
    for id in (7, 9, 2**64 - 1):
        ledger.hold(NotificationId(id), lambda _: True)
    seen = other(ledger)
    assert sorted(seen.owed()) == [7, 9, 2**64 - 1]
    seen.clear()
    assert list(ledger.owed()) == []
    seen.close()


def test_places_of_answered_calls_are_used_again(ledger: Ledger) -> None:
    for id in range(1, 40_001):
        ledger.hold(NotificationId(id), lambda old: old in (1, 5))
    owed = set(ledger.owed())
    assert {1, 5, 40_000} <= owed


def test_a_received_call_is_answered_by_another_process() -> None:
    with filtered("getppid") as (puppet, listener):
        made = Ledger.create()
        receiving = made.listener(os.dup(listener.fd))
        assert list(made.owed()) == []
        puppet.tell(f"call({nr('getppid')})")
        assert receiving.receive()
        seen = other(made)
        (id,) = seen.owed()
        assert id == receiving.notification[0]
        assert receiving.send_continue(id)
        assert puppet.hear() == os.getpid()
        for one in (made, seen):
            one.close()
        receiving.close()


def test_what_is_received_is_there_before_receive_returns() -> None:
    """The kernel writes into the memory itself: a session that is killed at once has left the id."""
    with filtered("getppid") as (puppet, listener):
        made = Ledger.create()
        child = os.fork()
        if child == 0:
            made.listener(listener.fd).receive()
            os.kill(os.getpid(), signal.SIGKILL)
        puppet.tell(f"call({nr('getppid')})")
        os.waitpid(child, 0)
        (id,) = made.owed()
        assert listener.send_continue(id)
        assert puppet.hear() == os.getpid()
        made.close()
