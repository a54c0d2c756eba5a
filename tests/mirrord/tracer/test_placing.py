"""Threads bound to the tracer's CPU, seen from inside the program and from outside."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mirrord.syscall import CONTINUE, Call, Verdict
from mirrord.tracer import placing as module
from mirrord.tracer.placing import Placing
from mirrord.tracer.tracing import TRACE

from ...support.waiting import until
from .puppet import Traced, nr, traced

ALL = os.sched_getaffinity(0)
pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="there is a single CPU")
FSYNC = nr("fsync")
BURST = f"[call({FSYNC}, 1000) for _ in range(100)] and None"
MINE = "sorted(os.sched_getaffinity(0))"
IN_CHILD = f"os.write(theirs, repr({MINE}).encode()) and os._exit(0)"


@dataclass
class Scene:
    """A puppet whose thread may be bound, by a clock that the test turns."""

    placing: Placing
    ticks: list[Callable[[], None]]
    ours: list[set[int]] = field(default_factory=list)
    """Where the tracer's thread might run at each call."""
    program: Traced = field(init=False)

    def bind(self) -> None:
        """Have the program call until it is bound; a busy machine may keep it from calling soon enough."""
        until("it is bound", lambda: self.program.puppet(BURST) or self.placing.bound)

    def tick(self) -> bool:
        """Let the time pass; tell whether nobody is bound any more."""
        for act in [self.ticks.pop() for _ in range(len(self.ticks))]:
            act()
        return not self.placing.bound

    def masks(self) -> list[set[int]]:
        """Where each thread of the program may run, and each of ours."""
        found = []
        for process in (self.program.puppet.pid, os.getpid()):
            for task in os.listdir(f"/proc/{process}/task"):
                # one that was joined may be ending still
                with suppress(ProcessLookupError):
                    found.append(os.sched_getaffinity(int(task)))
        return found


@contextmanager
def scene() -> Iterator[Scene]:
    ticks: list[Callable[[], None]] = []
    ring: list[Callable[[], None]] = []
    made = Scene(Placing(ticks.append, lambda: ring[0]()), ticks)

    def noted(call: Call) -> Verdict:
        made.ours.append(os.sched_getaffinity(0))
        return CONTINUE

    asked = {rule.syscall: handler for rule, handler in made.placing.rows(TRACE)}
    with traced(
        placing=made.placing,
        fsync=noted,
        sched_getaffinity=asked["sched_getaffinity"],
        sched_setaffinity=asked["sched_setaffinity"],
    ) as made.program:
        ring.append(made.program.tracing._bell.ring)
        made.program.puppet("ours, theirs = os.pipe()")
        yield made


def test_a_thread_that_calls_again_and_again_is_on_the_tracers_cpu() -> None:
    with scene() as it:
        it.bind()
        assert it.placing.bound == it.program.puppet.pid
        assert it.placing.together
        (cpu,) = os.sched_getaffinity(it.program.puppet.pid)
        it.program.puppet(BURST)
        assert it.ours[-1] == {cpu}
        assert cpu in ALL


def test_one_that_is_quiet_may_run_anywhere_again() -> None:
    with scene() as it:
        it.bind()
        until("it is let go", it.tick)
        assert all(mask == ALL for mask in it.masks())
        assert not it.placing.together
        assert it.tick()
        assert it.ticks == [], "nothing ticks any more"
        it.bind()


def test_when_another_thread_calls_none_is_bound() -> None:
    with scene() as it:
        it.bind()
        it.program.puppet(f"kept.append(threading.Thread(target=lambda: call({FSYNC}, 1000)))")
        it.program.puppet("kept[0].start() or kept[0].join()")
        assert not it.placing.bound
        assert all(mask == ALL for mask in it.masks())


@pytest.mark.parametrize(
    "way",
    [
        f"os.fork() or {IN_CHILD}",
        f"threading.Thread(target=lambda: os.write(theirs, repr({MINE}).encode())).start()",
        "os.posix_spawn(sys.executable, [sys.executable, '-I', '-S', '-c', "
        f"'import os; os.write({{theirs}}, repr({MINE}).encode())'], os.environ, "
        "file_actions=[(os.POSIX_SPAWN_DUP2, theirs, 9)])",
    ],
    ids=["fork", "thread", "spawn"],
)
def test_what_it_makes_meanwhile_may_run_anywhere_from_the_first(way: str) -> None:
    code = way.replace("{theirs}", "9")
    with scene() as it:
        it.bind()
        # without the call by which it asks being trapped, which would let it go as well
        it.program.puppet(f"{BURST} or {code} and None")
        assert it.program.puppet("os.read(ours, 100).decode()") == repr(sorted(ALL))


def test_the_next_program_may_run_anywhere() -> None:
    with scene() as it:
        it.bind()
        code = "import os; os.write(1, repr(open('/proc/self/status').read()).encode() + bytes([10]))"
        it.program.puppet.tell(
            f"{BURST} or os.execv(sys.executable, [sys.executable, '-I', '-S', '-c', {code!r}])"
        )
        status = it.program.puppet.hear()
        assert isinstance(status, str)
        (line,) = [line for line in status.splitlines() if line.startswith("Cpus_allowed:")]
        assert int(line.split()[1].replace(",", ""), 16) == sum(1 << cpu for cpu in ALL)


def test_who_asks_gets_its_own() -> None:
    with scene() as it:
        it.bind()
        assert it.program.puppet(f"{BURST} or {MINE}") == sorted(ALL)
        it.bind()


def test_once_the_program_says_where_to_run_it_is_left_alone() -> None:
    one = min(ALL)
    with scene() as it:
        it.bind()
        it.program.puppet(f"{BURST} or os.sched_setaffinity(0, {{{one}}})")
        assert it.program.puppet(f"[{BURST} for _ in range(20)] and {MINE}") == [one]
        assert not it.placing.bound
        it.program.puppet(f"os.fork() or {IN_CHILD}")
        assert it.program.puppet("os.read(ours, 100).decode()") == f"[{one}]"
        assert set(map(frozenset, it.ours[-500:])) == {frozenset(ALL)}


@pytest.mark.parametrize("cpu", sorted(ALL)[:2])
@pytest.mark.parametrize("whom", ["its child", "itself"])
def test_a_parent_may_say_where_to_run_before_its_child_does(whom: str, cpu: int) -> None:
    with scene() as it:
        it.program.puppet("go, gone = os.pipe()")
        it.bind()
        child = f"(os.fork() or os.read(go, 1) and {IN_CHILD})"
        pid = child if whom == "its child" else f"{child} * 0"
        it.program.puppet(f"{BURST} or os.sched_setaffinity({pid}, {{{cpu}}}) or os.write(gone, b'x')")
        expected = [cpu] if whom == "its child" else sorted(ALL)
        assert it.program.puppet("os.read(ours, 100).decode()") == repr(expected)


def test_a_child_is_let_go_although_another_thread_has_just_said_where_to_run() -> None:
    """The parent is bound and stands at the event; the other's call is taken first."""
    with scene() as it:
        it.bind()
        child = it.program.puppet("__import__('subprocess').Popen(['cat'], stdin=-1).pid")
        os.sched_setaffinity(child, {min(ALL)})
        for rule, handler in it.placing.rows(TRACE):
            if rule.syscall == "sched_setaffinity":
                handler(None)  # type: ignore[arg-type] # it looks at nothing of the call
        it.placing.appeared(child)
        assert os.sched_getaffinity(child) == {min(ALL)}, "by now its parent may have chosen that"
        parent = it.program.puppet.pid
        it.placing.made(child, parent)
        assert os.sched_getaffinity(child) == ALL
        for pid in (parent, child):
            os.sched_setaffinity(pid, {min(ALL)})
        it.placing.made(child, parent)
        assert os.sched_getaffinity(child) == {min(ALL)}, "as its parent, which has chosen it"


def test_what_somebody_else_has_said_meanwhile_stays() -> None:
    with scene() as it:
        it.bind()
        pid = it.program.puppet.pid
        other = ALL - os.sched_getaffinity(pid)
        os.sched_setaffinity(pid, other)
        until("it is let go", it.tick)
        assert os.sched_getaffinity(pid) == other
        for _ in range(20):
            it.program.puppet(BURST)
        assert not it.placing.bound


def test_one_that_was_started_elsewhere_is_not_bound() -> None:
    with scene() as it:
        os.sched_setaffinity(it.program.puppet.pid, {min(ALL)})
        for _ in range(20):
            it.program.puppet(BURST)
        assert not it.placing.bound


def test_the_tracer_may_run_anywhere_when_who_was_bound_has_ended() -> None:
    with scene() as it:
        it.program.puppet(f"os.fork() or [{BURST} for _ in range(100)] and os._exit(0)")
        until("it was bound", lambda: {len(mask) for mask in it.ours} == {1, len(ALL)})
        assert it.program.puppet("os.wait()[1]") == 0
        until("it is let go", lambda: not it.placing.bound)
        assert all(mask == ALL for mask in it.masks())


@pytest.mark.parametrize("changes", [{"has_capability": lambda tid, number: False}, {"later": None}])
def test_where_it_might_not_be_let_go_it_is_not_bound(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Callable[..., bool] | None]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if (capability := changes.get("has_capability")) is not None:
        monkeypatch.setattr(module, "has_capability", capability)
    placing = Placing(changes.get("later", lambda act: None))  # type: ignore[arg-type]
    for _ in range(100):
        placing.called(os.getpid())
    assert not placing.bound
    assert os.sched_getaffinity(0) == ALL


def test_with_a_single_cpu_nobody_looks_before_sleeping() -> None:
    os.sched_setaffinity(0, {min(ALL)})
    try:
        placing = Placing(lambda act: None)
    finally:
        os.sched_setaffinity(0, ALL)
    assert placing.together
    for _ in range(100):
        placing.called(os.getpid())
    assert not placing.bound


def test_nothing_is_told_of_who_was_killed_meanwhile() -> None:
    with scene() as it:
        it.bind()
        assert it.program.call("fsync", 1000) == -errno.EBADF
        os.kill(it.program.puppet.pid, 9)
        until("it was reaped", lambda: not Path(f"/proc/{it.program.puppet.pid}").exists())
    assert not it.placing.bound
