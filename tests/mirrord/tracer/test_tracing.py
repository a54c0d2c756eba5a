"""The ptrace engine on a real program; what it must know about ptrace has a test of its own each."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mirrord_seccomp import bpf
from mirrord_seccomp.bpf import Action, Rule
from mirrord_seccomp.syscalls import current_arch

from mirrord.errors import MirrordError
from mirrord.syscall import CONTINUE, Call, Elsewhere, Fail, GiveFd, Gone, Handler, Return, Verdict, Wait
from mirrord.tracer.stops import Ended, HasChild, Noticed

from ...support.processes import state
from ...support.waiting import until
from .puppet import nr, traced

NATIVE = -errno.EBADF
"""What the kernel says of the descriptor 1000, which no puppet has."""
FSYNC = f"call({nr('fsync')}, 1000)"
FORK_AND_WAIT = f"os.waitpid(os.fork() or os._exit({FSYNC}), 0)[1] >> 8"


def giving(verdict: Verdict) -> Handler:
    return lambda call: verdict


def raising(error: Exception) -> Handler:
    def handler(call: Call) -> Verdict:
        raise error

    return handler


async def never() -> Verdict:
    raise AssertionError


@pytest.mark.parametrize(
    ("verdict", "result"),
    [
        (CONTINUE, NATIVE),
        (Return(0), 0),
        (Return(2**40), 2**40),
        (Fail(errno.ECONNREFUSED), -errno.ECONNREFUSED),
    ],
)
def test_a_verdict_is_carried_out(verdict: Verdict, result: int) -> None:
    with traced(fsync=giving(verdict)) as program:
        assert [program.call("fsync", 1000) for _ in range(3)] == [result] * 3
        assert len(program.calls) == 3, "one stop for each call, and no second one"
        assert program.warnings == []


def test_a_handler_sees_the_call() -> None:
    with traced(fsync=giving(Return(0))) as program:
        program.call("fsync", 5, 2**40, 3, 4)
        (call,) = program.calls
        assert call.tid == program.puppet.pid
        assert call.args[:4] == (5, 2**40, 3, 4)


@pytest.mark.parametrize(
    ("error", "result", "lines"),
    [
        (OSError(errno.ENOENT, "x"), -errno.ENOENT, 0),
        (Gone(), NATIVE, 0),
        (ZeroDivisionError("x"), NATIVE, 1),
        (Elsewhere("it is elsewhere"), NATIVE, 1),
    ],
)
def test_a_call_always_gets_an_answer(error: Exception, result: int, lines: int) -> None:
    with traced(fsync=raising(error)) as program:
        assert [program.call("fsync", 1000) for _ in range(2)] == [result] * 2
        assert len(program.warnings) == lines


def test_a_call_that_waits_is_handed_over_and_others_go_on() -> None:
    wait = Wait(never)

    with traced(fsync=lambda call: wait if call.args[0] == 1 else Return(5)) as program:
        program.puppet("done = []")
        code = f"threading.Thread(target=lambda: done.append(call({nr('fsync')}, 1)), daemon=True)"
        program.puppet(f"kept.append({code})")
        program.puppet("kept[0].start()")
        until("it is held", lambda: program.held)
        ((call, held),) = program.held
        assert held is wait
        assert program.tracing.valid(call.id)
        assert program.call("fsync", 2) == 5
        program.tracing.carry_out(call, Return(77))
        assert program.puppet("kept[0].join() or done") == [77]
        assert not program.tracing.valid(call.id)
        program.tracing.carry_out(call, Return(78))
        assert program.call("fsync", 2) == 5


def test_an_answer_to_a_sleeping_tracer_is_never_missed() -> None:
    """The bell is a tracee: what it is told before the wait is still there in it."""
    with traced(fsync=giving(Wait(never))) as program:
        for count in range(1, 301):
            program.puppet.tell(FSYNC)
            until("it is held", lambda count=count: len(program.held) == count)  # type: ignore[misc]
            program.tracing.carry_out(program.held[-1][0], Return(count))
            assert program.puppet.hear() == count


def test_a_held_thread_that_is_killed_waits_no_more() -> None:
    with traced(fsync=giving(Wait(never))) as program:
        program.puppet.tell(FSYNC)
        until("it is held", lambda: program.held)
        call, _ = program.held[0]
        os.kill(program.puppet.pid, signal.SIGKILL)
        until("its end was seen", lambda: not program.tracing.valid(call.id))
        program.tracing.carry_out(call, Return(1))
        program.tracing.carry_out(call, GiveFd(os.open(os.devnull, os.O_RDONLY), False))


def test_a_thread_that_dies_under_a_request_does_not_stop_the_tracer() -> None:
    def handler(call: Call) -> Verdict:
        if call.args[0] == 1:
            os.kill(call.tid, signal.SIGKILL)
        return GiveFd(os.open(os.devnull, os.O_RDONLY), False) if call.args[1] else Return(5)

    with traced(fsync=handler) as program:
        for kind in (0, 1):
            dying = f"os.waitpid(os.fork() or os._exit(call({nr('fsync')}, 1, {kind})), 0)[1]"
            assert program.puppet(dying) == signal.SIGKILL
        assert program.call("fsync", 2, 0) == 5
        assert program.warnings == []


def test_children_of_every_kind_are_traced() -> None:
    with traced(fsync=giving(Return(9))) as program:
        assert program.puppet(f"[{FORK_AND_WAIT} for _ in range(20)]") == [9] * 20
        program.puppet("done = []")
        program.puppet(
            f"kept[:] = [threading.Thread(target=lambda: done.append({FSYNC})) for _ in range(20)]"
        )
        program.puppet("[one.start() for one in kept] and None")
        assert program.puppet("[one.join() for one in kept] and done") == [9] * 20
        program.puppet("import subprocess")
        code = "import ctypes; raise SystemExit(ctypes.CDLL(None).fsync(1000))"
        assert program.puppet(f"subprocess.run([sys.executable, '-c', {code!r}]).returncode") == 9
        until("only the puppet is left", lambda: program.tracing._alive == {program.puppet.pid})


@pytest.mark.parametrize("child_first", [True, False])
def test_a_child_may_be_seen_before_its_parents_event(
    monkeypatch: pytest.MonkeyPatch, child_first: bool
) -> None:
    """The kernel promises no order, and mostly has the parent first: so it is made up here."""
    with traced(fsync=giving(Return(9))) as program:
        tracing = program.tracing
        parent, child = program.puppet.pid, 2**22 + 1
        monkeypatch.setattr(HasChild, "message", lambda stop: child)
        seen: list[Callable[[], None]] = [
            lambda: quietly(lambda: tracing._noticed(Noticed(child, 0))),
            lambda: quietly(lambda: tracing._has_child(HasChild(parent, 0))),
        ]
        for see in seen if child_first else reversed(seen):
            see()
            assert tracing._alive == {parent, child}
        tracing._alive.discard(child)
        assert not tracing._early or not child_first
        tracing._early.clear()


def quietly(act: Callable[[], None]) -> None:
    """Make a request that the kernel refuses, since this thread is nobody's tracer."""
    with pytest.raises(ProcessLookupError):
        act()


def test_a_thread_that_executes_becomes_its_leader() -> None:
    """Neither its own number nor the old leader's ever reports an end."""
    with traced(fsync=giving(Return(9))) as program:
        script = "import os, sys; sys.exit(os.getpid() % 251)"
        run = f"os.execv(sys.executable, [sys.executable, '-c', {script!r}])"
        program.puppet("go = threading.Event()")
        program.puppet("kept[:] = [threading.Thread(target=go.wait, daemon=True) for _ in range(3)]")
        code = f"(threading.Thread(target=lambda: {run}).start(), threading.Event().wait())"
        pid, status = program.puppet(f"os.waitpid(kept.append(os.fork()) or kept[-1] or {code}, 0)")
        assert status >> 8 == pid % 251
        until("only the puppet is left", lambda: program.tracing._alive == {program.puppet.pid})


def test_a_stopped_process_stays_stopped_and_goes_on_when_told() -> None:
    with traced(fsync=giving(Return(9))) as program:
        pid = program.puppet.pid
        # where nobody in the session is the parent of a group, SIGTSTP does not stop it (setpgid(2))
        program.puppet("os.setpgid(0, 0)")
        assert program.call("fsync", 1000) == 9
        for number in (signal.SIGSTOP, signal.SIGTSTP):
            os.kill(pid, number)
            until("it is stopped", lambda: state(pid) == "t")
            stopped = (pid, number << 8 | 0x7F)
            until("that is reported", lambda stopped=stopped: stopped in program.reports)  # type: ignore[misc]
            program.puppet.tell(FSYNC)
            assert state(pid) == "t"
            os.kill(pid, signal.SIGCONT)
            assert program.puppet.hear() == 9


def test_a_parent_sees_its_child_stop_and_go_on() -> None:
    with traced(fsync=giving(Return(9))) as program:
        program.puppet("child = os.fork() or [signal.pause() for _ in range(9)]")
        for number, seen in ((signal.SIGSTOP, "os.WSTOPSIG(os.waitpid(child, os.WUNTRACED)[1])"),):
            assert program.puppet(f"os.kill(child, {int(number)}) or {seen}") == number
        assert program.puppet("os.kill(child, 18) or os.WIFCONTINUED(os.waitpid(child, os.WCONTINUED)[1])")
        assert program.puppet("os.kill(child, 15) or os.WTERMSIG(os.waitpid(child, 0)[1])") == signal.SIGTERM


def test_a_signal_comes_as_it_was_sent() -> None:
    with traced(fsync=giving(Return(9))) as program:
        program.puppet("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}) and None")
        program.puppet.tell("[(i.si_signo, i.si_pid) for i in [signal.sigwaitinfo({signal.SIGUSR1})]]")
        os.kill(program.puppet.pid, signal.SIGUSR1)
        assert program.puppet.hear() == [(signal.SIGUSR1, os.getpid())]
        program.puppet("[signal.signal(signal.SIGALRM, lambda *_: kept.append(1))] and None")
        program.puppet("[signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)] and None")
        program.puppet("exec('while len(kept) < 20: os.getppid()')")


def test_a_death_by_signal_is_reported() -> None:
    with traced(fsync=giving(Return(9))) as program:
        assert program.call("fsync") == 9
        os.kill(program.puppet.pid, signal.SIGTERM)
        until("it is reported", lambda: (program.puppet.pid, int(signal.SIGTERM)) in program.reports)


def test_what_another_filter_wants_traced_is_not_there() -> None:
    """A program may have a filter of its own, which traces; without a tracer the kernel says ENOSYS."""
    theirs = bpf.compile([Rule("getppid", Action.TRACE(7))], current_arch())
    with traced(fsync=giving(Return(9))) as program:
        length = len(theirs) // 8
        program.puppet(f"theirs = page({theirs!r})")
        program.puppet("import struct")
        program.puppet(f"fprog = page(struct.pack('=HxxxxxxQ', {length}, theirs))")
        assert program.call("prctl", 38, 1, 0, 0, 0) == 0
        assert program.puppet(f"call({nr('seccomp')}, 1, 0, fprog)") == 0
        assert program.call("getppid") == -errno.ENOSYS
        assert program.call("fsync") == 9


def test_without_its_bell_the_tracer_gives_up() -> None:
    with traced(fsync=giving(Return(9))) as program:
        bell = program.tracing._bell.pid
        with pytest.raises(MirrordError, match="was killed"):
            program.tracing._ended(Ended(bell, int(signal.SIGKILL)))


def test_other_children_of_this_process_are_left_to_whoever_waits_for_them() -> None:
    with traced(fsync=giving(Return(9))) as program:
        for _ in range(20):
            assert subprocess.run([sys.executable, "-I", "-S", "-c", "raise SystemExit(7)"]).returncode == 7
            assert program.call("fsync") == 9


def test_the_program_ends_with_its_tracer() -> None:
    """PTRACE_O_EXITKILL: what is filtered and not traced would have ENOSYS for an answer."""
    code = (
        "import os, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from tests.mirrord.tracer.puppet import traced\n"
        "from mirrord.syscall import Return\n"
        "with traced(fsync=lambda call: Return(9)) as program:\n"
        "    program.call('fsync')\n"
        "    print(program.puppet.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    root = Path(__file__).parents[3]
    line = [sys.executable, "-c", code]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, text=True) as tracer:
        assert tracer.stdout is not None
        pid = int(tracer.stdout.readline())
        tracer.kill()
        until("it has ended", lambda: state(pid) in "ZX")


def test_a_stop_wakes_no_other_thread_of_the_tracers_process() -> None:
    with traced(fsync=giving(Return(0))) as program:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        program.puppet(f"[{FSYNC} for _ in range(2000)] and None")
        assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before < 100
        assert len(program.calls) == 2000
