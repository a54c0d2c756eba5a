"""Real affinities, of a child that is bound to the CPU of the thread that runs the test."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Final

import pytest
from mirrord_seccomp.notify import NotificationId

from mirrord.syscall import Tid
from mirrord.tracer import placing as module
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.placing import Placing
from mirrord.tracer.threads import Threads
from mirrord.tracer.tracing import TRACE

from .puppet import Puppet, nr, puppet

ALL: Final = os.sched_getaffinity(0)
pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="this machine has one CPU: there is nothing to choose")


@pytest.fixture
def child() -> Iterator[Puppet]:
    with puppet() as one:
        yield one


@pytest.fixture
def placing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Placing]:
    """One whose loop does not run: nothing is quiet for too long."""
    monkeypatch.setattr(module, "_SOON", 60 * 10**9)
    loop = asyncio.new_event_loop()
    yield Placing(loop)
    loop.close()
    os.sched_setaffinity(0, ALL)


def where(tid: int) -> set[int]:
    return os.sched_getaffinity(tid)


def often(placing: Placing, tid: int) -> None:
    for _ in range(module._ENOUGH + 1):
        placing.stopped(tid)


def test_one_that_stops_often_is_bound_to_our_cpu(placing: Placing, child: Puppet) -> None:
    for _ in range(module._ENOUGH):
        placing.stopped(child.pid)
    assert where(child.pid) == ALL, "not yet"
    placing.stopped(child.pid)
    assert placing.bound == child.pid
    assert len(where(child.pid)) == 1
    assert where(child.pid) == where(0)
    often(placing, child.pid)
    placing.release()
    assert where(child.pid) == where(0) == ALL


def test_one_that_stops_now_and_then_is_not(
    placing: Placing, child: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SOON", 0)
    often(placing, child.pid)
    assert where(child.pid) == ALL


def test_two_that_stop_in_turn_are_not(placing: Placing, child: Puppet) -> None:
    for _ in range(module._ENOUGH + 1):
        placing.stopped(child.pid)
        placing.stopped(os.getpid())
    assert where(child.pid) == ALL


def test_another_one_ends_it(placing: Placing, child: Puppet) -> None:
    often(placing, child.pid)
    placing.stopped(os.getpid())
    assert where(child.pid) == where(0) == ALL
    assert placing.bound == 0


def test_a_narrower_choice_of_its_own_is_given_back(placing: Placing, child: Puppet) -> None:
    os.sched_setaffinity(child.pid, {max(ALL)})
    often(placing, child.pid)
    assert placing.bound == 0, "it has one CPU, and we may run on another"
    placing.release()
    assert where(child.pid) == {max(ALL)}


def test_a_new_thread_has_its_parents_own_affinity(placing: Placing, child: Puppet) -> None:
    often(placing, child.pid)
    born = child("__import__('subprocess').Popen(['cat'], stdin=-1).pid")
    assert where(born) == where(child.pid) != ALL
    placing.appeared(child.pid)
    placing.appeared(born)
    assert where(born) == ALL
    assert len(where(child.pid)) == 1, "it is bound, and was not born"
    placing.release()


def test_an_end_frees_us(placing: Placing, child: Puppet) -> None:
    often(placing, child.pid)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    placing.ended(child.pid)
    assert where(0) == ALL


def test_a_new_name_is_followed(placing: Placing, child: Puppet) -> None:
    often(placing, child.pid)
    placing.bound = 2**22 + 1
    placing.renamed(2**22 + 1, child.pid)
    placing.release()
    assert where(child.pid) == ALL


@pytest.mark.parametrize(("name", "again"), [("sched_getaffinity", True), ("sched_setaffinity", False)])
def test_the_program_sees_its_own(placing: Placing, child: Puppet, name: str, again: bool) -> None:
    often(placing, child.pid)
    (handler,) = (handler for rule, handler in placing.rows(TRACE) if rule.syscall == name)
    handler(call(name))
    assert where(child.pid) == ALL
    often(placing, child.pid)
    assert (placing.bound == child.pid) is again, "who chooses is left alone"
    placing.release()


def call(name: str) -> TrappedCall:
    return TrappedCall(NotificationId(1), Tid(1), nr(name), (0, 0, 0, 0, 0, 0), Threads(lambda _: True))


def test_what_may_not_be_moved_is_left_alone(
    placing: Placing, child: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.sched_setaffinity

    def refuse(tid: int, cpus: set[int]) -> None:
        if tid == child.pid:
            raise PermissionError
        really(tid, cpus)

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    often(placing, child.pid)
    assert placing.bound == 0
    assert where(0) == ALL


def test_one_that_is_quiet_is_let_go(child: Puppet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SOON", 60 * 10**9)
    monkeypatch.setattr(module, "_QUIET", 0)

    async def main() -> None:
        placing = Placing(asyncio.get_running_loop())
        tracer = threading.Thread(target=often, args=(placing, child.pid))
        tracer.start()
        tracer.join()
        while placing.bound:
            await asyncio.sleep(module._TICK)
        assert where(child.pid) == ALL

    asyncio.run(main())
