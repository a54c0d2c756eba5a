"""The engine ``ptrace``: for where seccomp notifications are not to be had.

The kernel tells a tracer's whole process of each stop by SIGCHLD, and any of its threads may wait for its
tracees. So here nobody but the tracer's thread waits for the program's processes, and SIGCHLD has no handler,
which would wake the event loop at every trapped call.
"""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final

from mirrord_seccomp.rules import Action, Op, Rule, Test

from mirrord.syscall import CONTINUE, Call, Handler, Verdict
from mirrord.tracer import rewrite
from mirrord.tracer.bell import Bell
from mirrord.tracer.engine import SWITCH_INTERVAL, Decisions, Program
from mirrord.tracer.excuses import Warn
from mirrord.tracer.held import HeldCalls
from mirrord.tracer.kept import Kept
from mirrord.tracer.launch import launch_traced
from mirrord.tracer.probe import may_duplicate
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
        self._statuses: Final[dict[int, int]] = {}
        self._tracing: Tracing | None = None
        self._held: HeldCalls | None = None

    @property
    def own_rows(self) -> Sequence[tuple[Rule, Handler]]:
        """Trap what a traced process cannot do, and what would make one that is not."""
        requests = (_PTRACE_TRACEME, _PTRACE_ATTACH, _PTRACE_SEIZE)
        refused = [(Rule("ptrace", TRACE, Test(0, Op.EQ, request, 64)), self.tracing) for request in requests]
        return [*refused, *rewrite.rows(TRACE)]

    def tracing(self, call: Call) -> Verdict:
        """Say that the kernel will refuse this; it has one tracer for each thread (ptrace(2))."""
        self._warn(
            "warning: a program wants to trace another, which the kernel refuses where mirrord does; "
            "debuggers and the like work under `--engine notify`"
        )
        return CONTINUE

    async def start(
        self,
        program: Program,
        decisions: Decisions,
        changed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Launch the program and trace it, both on one thread."""
        pid = program.parked.pid

        def report(process: int, status: int) -> None:
            self._loop.call_soon_threadsafe(self._report, pid, process, status, changed)

        self._tracing = Tracing(
            decisions.handlers,
            self._bell,
            skipped=self._skipped,
            hold=lambda call, wait: held.hold(call, wait),
            warn=self._warn,
            report=report,
            keep=None if self._kept is None else self._kept.keep,
        )
        self._held = held = HeldCalls(self._loop, self._tracing, warn=self._warn)
        launched = self._loop.create_future()
        work = (self._tracing, program, decisions.filter, launched, failed)
        sys.setswitchinterval(SWITCH_INTERVAL)
        threading.Thread(target=self._run, args=work, name="tracer", daemon=True).start()
        await launched

    def _run(
        self,
        tracing: Tracing,
        program: Program,
        filter_: bytes,
        launched: asyncio.Future[None],
        failed: Callable[[Exception], None],
    ) -> None:
        try:
            self._bell.hang()
            launch_traced(program.parked, program.argv, program.environment, filter_)
        except Exception as error:  # the session has to hear of it, on its own thread
            self._loop.call_soon_threadsafe(launched.set_exception, error)
            return
        self._loop.call_soon_threadsafe(launched.set_result, None)
        try:
            tracing.serve(program.parked.pid)
        except Exception as error:  # without its tracer the program is gone
            self._loop.call_soon_threadsafe(failed, error)

    def _report(self, program: int, process: int, status: int, changed: Callable[[], None]) -> None:
        if process == program:
            self._statuses[process] = status
        if process == program or not os.WIFSTOPPED(status):
            changed()

    def status(self, pid: int) -> int | None:
        """Return what the tracer's thread has seen."""
        return self._statuses.pop(pid, None)

    @property
    def find_kept(self) -> Callable[[int], socket.socket | None] | None:
        """Find a socket that is kept, where it could not be got again."""
        return None if self._kept is None else self._kept.find

    def forget_thread(self, tid: int) -> None:
        """Look at a thread afresh."""
        if self._tracing is not None and self._held is not None:
            self._tracing.threads.forget(tid)
            self._held.forget_thread(tid)

    def forget_threads(self) -> None:
        """Look at every thread afresh."""
        if self._tracing is not None and self._held is not None:
            self._tracing.threads.forget_all()
            self._held.forget_threads()
