import os
from collections.abc import Iterator

import pytest
from mirrord_seccomp.notify import NotificationId

from mirrord.tracer.ledger import Ledger, NotingListener

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


def test_the_last_one_and_the_next_are_owed(ledger: Ledger) -> None:
    ledger.receive(NotificationId(2**64 - 2))
    owed = list(ledger.owed())
    assert owed[:4] == [2**64 - 2, 2**64 - 1, 0, 1], "ids go round"


def test_places_of_answered_calls_are_used_again(ledger: Ledger) -> None:
    for id in range(1, 40_001):
        ledger.hold(NotificationId(id), lambda old: old in (1, 5))
    owed = set(ledger.owed())
    assert {1, 5, 40_000} <= owed


def test_a_received_call_is_answered_by_another_process() -> None:
    with filtered("getppid") as (puppet, listener):
        puppet.tell(f"call({nr('getppid')})")
        made = Ledger.create()
        noting = NotingListener(os.dup(listener.fd), made)
        assert noting.receive()
        seen = other(made)
        assert next(noting.send_continue(id) for id in seen.owed())
        assert puppet.hear() == os.getpid()
        for one in (made, seen):
            one.close()
        noting.close()
