"""The engine ``ptrace``: for where seccomp notifications are not to be had.

The kernel tells a tracer's whole process of each stop by SIGCHLD, and any of its threads may wait for its
tracees. So here nobody but the tracer's thread waits for the program's processes, and SIGCHLD has no handler,
which would wake the event loop at every trapped call.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from mirrord_seccomp.rules import Action, Op, Rule, Test

from mirrord.errors import AttachError
from mirrord.syscall import CONTINUE, Call, Handler, Verdict, Wait
from mirrord.tracer import rewrite
from mirrord.tracer.attachable import Status
from mirrord.tracer.bell import Bell
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.engine import Decisions, Program, be_quick
from mirrord.tracer.excuses import Warn
from mirrord.tracer.held import HeldCalls
from mirrord.tracer.kept import Kept
from mirrord.tracer.launch import launch_traced
from mirrord.tracer.placing import TICK, Placing
from mirrord.tracer.probe import may_duplicate
from mirrord.tracer.recorder import Recorder
from mirrord.tracer.tracing import TRACE, Tracing

_PTRACE_TRACEME: Final = 0
_PTRACE_ATTACH: Final = 16
_PTRACE_SEIZE: Final = 0x4206


class PtraceEngine:
    """A tracer's thread, and the calls that it holds."""

    trap: Action = TRACE
    returning_from_signal: Handler | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, *, skipped: frozenset[str], warn: Warn) -> None:
        """Make the engine while this process has a single thread: it forks."""
        self._loop: Final = loop
        self._skipped: Final = skipped
        self._warn: Final = warn
        self._bell: Final = Bell()
        self._kept: Final = None if may_duplicate(self._bell.pid) else Kept(loop)
        self._placing: Final = Placing(self._later, self._bell.ring)
        self._statuses: Final[dict[int, int]] = {}
        self._tracing: Tracing | None = None
        self._held: HeldCalls | None = None
        self._recorder: Recorder | None = None
        self._program = 0
        self._begun: Final = threading.Event()
        self._changed: Callable[[], None]
        self._failed: Callable[[Exception], None]

    def _later(self, act: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(self._loop.call_later, TICK, act)

    @property
    def own_rows(self) -> Sequence[tuple[Rule, Handler]]:
        """Trap what a traced process cannot do, and what would make one that is not."""
        requests = (_PTRACE_TRACEME, _PTRACE_ATTACH, _PTRACE_SEIZE)
        refused = [(Rule("ptrace", TRACE, Test(0, Op.EQ, request, 64)), self.tracing) for request in requests]
        return [*refused, *self._placing.rows(TRACE), *rewrite.rows(TRACE)]

    def tracing(self, call: Call) -> Verdict:
        """Say that the kernel will refuse this; it has one tracer for each thread (ptrace(2))."""
        self._warn(
            "warning: a program wants to trace another, which the kernel refuses where mirrord does; "
            "debuggers and the like work under `--engine notify`"
        )
        return CONTINUE

    async def launch(self, program: Program, decisions: Decisions) -> None:
        """Start the program, on the thread that will trace it."""
        self._program = program.parked.pid
        self._tracing = tracing = Tracing(
            decisions.handlers,
            self._bell,
            skipped=self._skipped,
            hold=self._hold,
            warn=self._warn,
            report=self._reported,
            keep=self._keep,
            placing=self._placing,
        )
        self._begin_with(tracing)
        launched = self._loop.create_future()
        self._start(self._run, tracing, program, decisions.filter, launched)
        await launched

    @property
    def _keep(self) -> Callable[[int], None] | None:
        return None if self._kept is None else self._kept.keep

    def _begin_with(self, tracing: Tracing) -> None:
        self._held = HeldCalls(self._loop, tracing, warn=self._warn)
        tracing.recorder = self._recorder

    def _start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        be_quick()
        thread = threading.Thread(target=work, args=arguments, name="tracer", daemon=True)
        thread.start()
        return thread

    def _hold(self, call: TrappedCall, wait: Wait) -> None:
        assert self._held is not None
        self._held.hold(call, wait)

    def _reported(self, process: int, status: int) -> None:
        self._loop.call_soon_threadsafe(self._report, process, status)

    def begin(self, changed: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Let the program go."""
        self._changed, self._failed = changed, failed
        self._begun.set()

    def _run(
        self, tracing: Tracing, program: Program, filter_: bytes, launched: asyncio.Future[None]
    ) -> None:
        try:
            self._bell.hang()
            launch_traced(program.parked, program.argv, program.environment, filter_)
        except Exception as error:  # the session has to hear of it, on its own thread
            self._loop.call_soon_threadsafe(launched.set_exception, error)
            return
        self._loop.call_soon_threadsafe(launched.set_result, None)
        self._begun.wait()
        try:
            tracing.serve(program.parked.pid)
        except Exception as error:  # without its tracer the program is gone
            self._loop.call_soon_threadsafe(self._failed, error)

    def _report(self, process: int, status: int) -> None:
        if process == self._program:
            self._statuses[process] = status
        if process == self._program or not os.WIFSTOPPED(status):
            self._changed()

    def record(self, recorder: Recorder | None) -> None:
        """Have every call remembered from now on, or no more."""
        self._recorder = recorder
        if self._tracing is not None:
            self._tracing.recorder = recorder

    def status(self, pid: int) -> int | None:
        """Return what the tracer's thread has seen; who has ended with no tracer is reaped.

        Who dies before its parent stays for that as a zombie, which may leave it to us; and the program has
        no tracer any more where that has failed.
        """
        untraced = _reap_untraced(pid)
        return self._statuses.pop(pid, None) if untraced is None else untraced

    @property
    def find_kept(self) -> Callable[[int], socket.socket | None] | None:
        """Find a socket that is kept, where it could not be got again."""
        return None if self._kept is None else self._kept.find

    def forget_thread(self, tid: int) -> None:
        """Look at a thread afresh."""
        if self._tracing is not None and self._held is not None:
            self._tracing.threads.forget(tid)
            self._held.forget_thread(tid)
        if self._recorder is not None:
            self._recorder.forget(tid)

    def forget_threads(self) -> None:
        """Look at every thread afresh."""
        if self._tracing is not None and self._held is not None:
            self._tracing.threads.forget_all()
            self._held.forget_threads()


def _reap_untraced(pid: int) -> int | None:
    """Reap a child that nobody traces any more; a wait for any other one could take a stop of a tracee."""
    try:
        status = Status.of(pid)
    except AttachError:
        # the tracer's thread has reaped it
        return None
    if status.state == "Z" and not status.tracer:
        with suppress(ChildProcessError):
            reaped, ended = os.waitpid(pid, os.WNOHANG)
            return ended if reaped else None
    return None
