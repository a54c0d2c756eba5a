"""Processes that are traced from some moment on, and let go of: they notice neither."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest
from mirrord_seccomp.rules import Op, Rule, Test

from mirrord.errors import AttachError
from mirrord.syscall import CONTINUE, Call, Fail, GiveFd, Handler, Return, Verdict, Wait
from mirrord.tracer.bell import Bell
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.following import Following
from mirrord.tracer.rewrite import Rewrite
from mirrord.tracer.tracing import TRACE

from ...support.processes import state, system_call
from ...support.waiting import until
from .puppet import held_up, nr, puppet

NATIVE = -errno.EBADF
"""What the kernel says of the descriptor 1000, which no puppet has."""
FSYNC = f"call({nr('fsync')}, 1000)"


@dataclass
class Decisions:
    """A table of some calls."""

    handlers: Mapping[int, Handler]
    traps: Mapping[int, Sequence[Rule]]
    filter: bytes = b""


@dataclass
class Scene:
    """A tracer's thread, and what it told."""

    following: Following
    held: list[tuple[TrappedCall, Wait]] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)
    threads: dict[int, int] = field(default_factory=dict)
    errors: list[AttachError] = field(default_factory=list)


def decisions(handlers: Mapping[str, Handler], *rules: Rule) -> Decisions:
    traps = {nr(name): (Rule(name, TRACE),) for name in handlers}
    traps.update({nr(rule.syscall): (rule,) for rule in rules})
    return Decisions({nr(name): handler for name, handler in handlers.items()}, traps)


@contextmanager
def followed(*pids: int, rules: Sequence[Rule] = (), **handlers: Handler) -> Iterator[Scene]:
    """Trace processes of which these calls are decided; let go of them in the end."""
    made: list[Scene] = []
    bell = Bell()

    def work() -> None:
        following = Following(
            decisions(handlers, *rules),
            bell,
            hold=lambda call, wait: scene.held.append((call, wait)),
            warn=lambda text: pytest.fail(text),
            settled=lambda seconds: scene.settled.append(seconds),
        )
        scene = Scene(following)
        try:
            scene.threads.update({pid: following.take_over(pid) for pid in pids})
        except AttachError as error:
            scene.errors.append(error)
            return
        finally:
            made.append(scene)
        bell.hang()
        following.follow()

    thread = Thread(target=work)
    thread.start()
    until("the tracer is there", lambda: made)
    try:
        yield made[0]
    finally:
        made[0].following.leave()
        thread.join(10)
        made[0].following.threads.forget_all()
        with suppress(ProcessLookupError):
            os.kill(bell.pid, signal.SIGKILL)
        os.waitpid(bell.pid, 0)
    assert not thread.is_alive()
    for pid in made[0].following.followed:
        until("nobody traces it", lambda pid=pid: tracer(pid) in ("0", ""))  # type: ignore[misc]


def tracer(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text().partition("\nTracerPid:\t")[2].split()[0]
    except FileNotFoundError:
        return ""


def giving(verdict: Verdict) -> Handler:
    return lambda call: verdict


async def never() -> Verdict:
    raise AssertionError


def settle(scene: Scene) -> None:
    until("every thread has stopped and goes on", lambda: scene.settled)


@pytest.mark.parametrize(
    ("verdict", "result"),
    [
        (CONTINUE, NATIVE),
        (Return(2**40), 2**40),
        (Fail(errno.ECONNREFUSED), -errno.ECONNREFUSED),
        (Rewrite(0, 1001), NATIVE),
    ],
)
def test_a_verdict_is_carried_out_and_nothing_stays(verdict: Verdict, result: int) -> None:
    with puppet() as one:
        with followed(one.pid, fsync=giving(verdict)) as scene:
            settle(scene)
            assert [one(FSYNC) for _ in range(3)] == [result] * 3
            assert one("1 + 1") == 2
        assert one(FSYNC) == NATIVE
        assert "\nSeccomp:\t0\n" in Path(f"/proc/{one.pid}/status").read_text()


def test_again_and_again() -> None:
    with puppet() as one:
        for number in range(1, 6):
            with followed(one.pid, fsync=giving(Return(number))) as scene:
                settle(scene)
                assert one(FSYNC) == number
            assert one(FSYNC) == NATIVE


def test_a_descriptor_is_given() -> None:
    def give(call: Call) -> Verdict:
        return GiveFd(os.open("/proc/self/stat", os.O_RDONLY), cloexec=True)

    with puppet() as one:
        with followed(one.pid, fsync=give) as scene:
            settle(scene)
            fd = one(FSYNC)
            assert fd > 2
            assert one(f"os.read({fd}, 100).split()[0]") == str(os.getpid()).encode()
        assert one(f"os.close({fd})") is None


def test_only_what_the_rules_name_is_decided() -> None:
    rule = Rule("fsync", TRACE, Test(0, Op.EQ, 1000, 32))
    seen: list[int] = []

    def handler(call: Call) -> Verdict:
        seen.append(call.args[0])
        return Return(5)

    with puppet() as one, followed(one.pid, rules=[rule], fsync=handler) as scene:
        settle(scene)
        assert [one(f"call({nr('fsync')}, {fd})") for fd in (999, 1000, 1001)] == [NATIVE, 5, NATIVE]
    assert seen == [1000]


def test_every_thread_and_what_they_start() -> None:
    with puppet() as one:
        one("event = threading.Event(); done = []")
        for _ in range(30):
            one(f"threading.Thread(target=lambda: (event.wait(), done.append({FSYNC}))).start()")
        with followed(one.pid, fsync=giving(Return(9))) as scene:
            settle(scene)
            assert scene.threads == {one.pid: 31}
            one("event.set()")
            until("all are decided", lambda: one("len(done)") == 30)
            assert one("set(done)") == {9}
            assert one(f"os.waitpid(os.fork() or os._exit({FSYNC}), 0)[1] >> 8") == 9
            one("import subprocess")
            code = "import ctypes; raise SystemExit(ctypes.CDLL(None).fsync(1000))"
            assert one(f"subprocess.run([sys.executable, '-c', {code!r}]).returncode") == 9


def test_several_processes() -> None:
    with puppet() as one, puppet() as other:
        with followed(one.pid, other.pid, fsync=giving(Return(9))) as scene:
            settle(scene)
            assert [one(FSYNC), other(FSYNC)] == [9, 9]
        assert [one(FSYNC), other(FSYNC)] == [NATIVE, NATIVE]


def test_a_call_that_waits_is_left_to_the_kernel_when_it_is_let_go_of() -> None:
    with puppet() as one:
        with followed(one.pid, fsync=giving(Wait(never))) as scene:
            settle(scene)
            one.tell(FSYNC)
            until("it is held", lambda: scene.held)
            scene.following.leave()
            assert scene.following.valid(scene.held[0][0].id)
            scene.following.carry_out(scene.held[0][0], CONTINUE)
        assert one.hear() == NATIVE


@pytest.mark.parametrize("restart", [False, True])
def test_a_blocked_call_goes_on(restart: bool) -> None:
    """A signal that comes meanwhile does what it always does, and SA_RESTART decides."""
    with puppet() as one:
        one("seen = []")
        one("old = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))")
        one(f"signal.siginterrupt(signal.SIGUSR1, {not restart})")
        one("pipe = os.pipe()")
        writing = one("pipe[1]")
        # Python itself repeats os.read; a call by ctypes it does not
        one.tell(f"call({nr('read')}, pipe[0], page(), 1)")
        until("it is blocked", lambda: system_call(one.pid) == "read")
        with followed(one.pid, fsync=giving(Return(9))) as scene:
            settle(scene)
            os.kill(one.pid, signal.SIGUSR1)
            if not restart:
                assert one.hear() == -errno.EINTR
        if restart:
            fd = os.open(f"/proc/{one.pid}/fd/{writing}", os.O_WRONLY)
            os.write(fd, b"x")
            os.close(fd)
            assert one.hear() == 1
        assert one("seen") == [1]


def test_one_that_cannot_be_stopped_at_once_is_followed_when_it_can() -> None:
    with puppet() as one, held_up(one) as go_on, followed(one.pid, fsync=giving(Return(9))) as scene:
        assert scene.settled == []
        go_on()
        settle(scene)
        assert one.hear() > 0
        assert one(FSYNC) == 9


def test_a_stop_outlives_the_tracer() -> None:
    with puppet() as one:
        one("os.setpgid(0, 0)")
        with followed(one.pid, fsync=giving(Return(9))) as scene:
            settle(scene)
            os.kill(one.pid, signal.SIGSTOP)
            until("it is stopped", lambda: state(one.pid) == "t")
        assert state(one.pid) == "T"
        one.tell(FSYNC)
        os.kill(one.pid, signal.SIGCONT)
        assert one.hear() == NATIVE


def test_its_parent_waits_for_it_as_ever() -> None:
    with puppet() as parent:
        parent("import subprocess")
        line = "['sh', '-c', 'read status; exit $status']"
        parent(f"child = subprocess.Popen({line}, stdin=subprocess.PIPE)")
        with followed(parent("child.pid"), fsync=giving(Return(9))) as scene:
            settle(scene)
            parent("child.communicate(b'7\\n') and None")
            assert parent("child.wait()") == 7


def test_one_that_is_gone() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        with followed(process.pid, fsync=giving(Return(9))) as scene:
            assert "has ended" in str(scene.errors[0])


def test_one_that_is_traced_already_is_refused_and_the_others_are_let_go_of() -> None:
    with puppet() as one, puppet() as other, followed(other.pid, fsync=giving(Return(9))) as first:
        settle(first)
        with followed(one.pid, other.pid, fsync=giving(Return(8))) as second:
            assert "held by another tracer" in str(second.errors[0])
            until("nobody traces it", lambda: tracer(one.pid) == "0")
            assert one(FSYNC) == NATIVE
        assert other(FSYNC) == 9


@pytest.mark.parametrize("held", [False, True])
def test_it_outlives_a_tracer_that_is_killed(held: bool) -> None:
    verdict = "Wait(never)" if held else "Return(9)"
    code = (
        "import sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from tests.mirrord.tracer.test_following import followed, giving, never, settle, until\n"
        "from mirrord.syscall import Return, Wait\n"
        f"with followed(int(sys.argv[1]), fsync=giving({verdict})) as scene:\n"
        "    settle(scene)\n"
        "    print('settled', flush=True)\n"
        "    until('it is held', lambda: scene.held)\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with puppet() as one:
        line = [sys.executable, "-c", code, str(one.pid)]
        root = Path(__file__).parents[3]
        with subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "settled\n"
            if held:
                one.tell(FSYNC)
                assert process.stdout.readline() == "held\n"
            else:
                assert one(FSYNC) == 9
            process.kill()
            process.wait()
        if held:
            assert one.hear() == NATIVE
        assert one(FSYNC) == NATIVE
