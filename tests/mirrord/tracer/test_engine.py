import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from mirrord_seccomp import bpf
from mirrord_seccomp.rules import Rule
from mirrord_seccomp.syscalls import current_arch

from mirrord.errors import MirrordError, ProgramNotFound
from mirrord.syscall import CONTINUE, Call, Fail, Handler, Verdict, Wait
from mirrord.tracer.engine import Engine, Program
from mirrord.tracer.notified import NotifyEngine
from mirrord.tracer.traced import PtraceEngine
from mirrord.tracer.tracing import Tracing

from .puppet import nr, parked

ENGINES = [NotifyEngine, PtraceEngine]
Kind = type[NotifyEngine] | type[PtraceEngine]


class Decided:
    """A table with one call in it."""

    def __init__(self, engine: Engine, handler: Handler) -> None:
        rules = [Rule("fsync", engine.trap), *(rule for rule, _ in engine.own_rows)]
        self.filter = bpf.compile(rules, current_arch())
        own = {nr(rule.syscall): handler for rule, handler in engine.own_rows}
        self.handlers: Mapping[int, Handler] = {**own, nr("fsync"): handler}
        self.traps: Mapping[int, Sequence[Rule]] = {}


@dataclass
class Session:
    """What an engine told."""

    changes: int = 0
    warnings: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    ended: "asyncio.Event" = field(default_factory=asyncio.Event)
    statuses: list[int] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        self.failures.append(error)
        self.ended.set()

    def look(self, engine: Engine, pid: int) -> None:
        self.changes += 1
        if (status := engine.status(pid)) is not None:
            self.statuses.append(status)
            if not os.WIFSTOPPED(status):
                self.ended.set()


def made(kind: Kind, session: Session) -> Engine:
    """Return an engine that skips nothing; on the event loop."""
    if issubclass(kind, PtraceEngine):
        return kind(asyncio.get_running_loop(), skipped=frozenset(), warn=session.warnings.append)
    return kind(skipped=frozenset(), warn=session.warnings.append)


async def play(kind: Kind, argv: list[str], handler: Handler) -> Session:
    """Run a program to its end."""
    loop = asyncio.get_running_loop()
    session = Session()
    process = parked()
    engine = made(kind, session)
    program = Program(process, [os.fsencode(word) for word in argv], os.environb)
    try:
        await engine.launch(program, Decided(engine, handler))
        engine.begin(lambda: session.look(engine, process.pid), session.fail)
        session.look(engine, process.pid)
        async with asyncio.timeout(30):
            await session.ended.wait()
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)
        with suppress(OSError):
            # a failed launch has closed it
            os.close(process.report)
    return session


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", f"import ctypes, os, signal; libc = ctypes.CDLL(None); {code}"]


FSYNC = f"libc.syscall({nr('fsync')}, 1000)"


def waiting(call: Call) -> Verdict:
    async def later() -> Verdict:
        await asyncio.sleep(0)
        return Fail(7)

    return Wait(later)


@pytest.mark.parametrize("kind", ENGINES)
def test_calls_are_answered_and_the_end_is_told(kind: Kind) -> None:
    code = f"raise SystemExit({FSYNC} == -1 and ctypes.get_errno() or 9)"
    session = asyncio.run(play(kind, python(code), waiting))
    assert session.statuses == [9 << 8]
    assert session.warnings == []
    assert session.failures == []


@pytest.mark.parametrize("kind", ENGINES)
def test_a_death_by_signal_is_told(kind: Kind) -> None:
    session = asyncio.run(play(kind, python("os.kill(os.getpid(), 9)"), lambda call: CONTINUE))
    assert session.statuses == [signal.SIGKILL]


@pytest.mark.parametrize("kind", ENGINES)
def test_a_stop_is_told(kind: Kind) -> None:
    child = "pid = os.getpid(); os.fork() or (__import__('time').sleep(0.3), os.kill(pid, 18), os._exit(0))"
    session = asyncio.run(play(kind, python(f"{child}; os.kill(pid, 19)"), lambda call: CONTINUE))
    assert session.statuses == [signal.SIGSTOP << 8 | 0x7F, 0]


@pytest.mark.parametrize("kind", ENGINES)
def test_a_failed_launch_is_raised(kind: Kind) -> None:
    with pytest.raises(ProgramNotFound, match="there is no program /no/such"):
        asyncio.run(play(kind, ["/no/such"], lambda call: CONTINUE))


def test_a_fault_of_the_tracer_is_told_and_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tracing: Tracing, program: int) -> None:
        started.append(program)
        raise MirrordError("made up")

    started: list[int] = []
    monkeypatch.setattr(Tracing, "serve", fail)
    session = asyncio.run(play(PtraceEngine, python("signal.pause()"), lambda call: CONTINUE))
    assert [str(error) for error in session.failures] == ["made up"]
    # its end is told where it came before the session looked, and else it is left to be waited for
    assert session.statuses or os.waitpid(started[0], 0)[1:] == (signal.SIGKILL,)
    assert session.statuses in ([], [signal.SIGKILL])


def test_who_wants_to_trace_is_told_of_the_other_engine() -> None:
    code = f"raise SystemExit(libc.syscall({nr('ptrace')}, 0, 0, 0, 0) + 1)"
    session = asyncio.run(play(PtraceEngine, python(code), lambda call: CONTINUE))
    assert session.statuses == [0], "the kernel refuses it"
    (warning,) = session.warnings
    assert "--engine notify" in warning


@pytest.mark.parametrize("kind", ENGINES)
def test_ends_of_others_are_told_too(kind: Kind) -> None:
    """A session goes on for the processes that its program has left."""
    session = asyncio.run(
        play(kind, python("os.waitpid(os.fork() or os._exit(3), 0)"), lambda call: CONTINUE)
    )
    assert session.changes >= 1
    assert session.statuses == [0]
