"""The engine ``notify``: trapped calls arrive on a seccomp listener, and the program runs free of ptrace."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

from mirrord_seccomp.notify import Listener
from mirrord_seccomp.rules import Action, Rule

from mirrord.syscall import Handler
from mirrord.tracer.engine import Decisions, Program
from mirrord.tracer.excuses import Warn
from mirrord.tracer.gate import Answers, Gate
from mirrord.tracer.held import HeldCalls
from mirrord.tracer.interrupted import Interrupted, can_repair
from mirrord.tracer.launch import launch


class NotifyEngine:
    """A gate, the calls that it holds, and what signals have interrupted."""

    trap: Action = Action.NOTIFY
    find_kept: Callable[[int], socket.socket | None] | None = None
    own_rows: Sequence[tuple[Rule, Handler]] = ()

    def __init__(self, loop: asyncio.AbstractEventLoop, *, skipped: frozenset[str], warn: Warn) -> None:
        self._loop: Final = loop
        self._skipped: Final = skipped
        self._warn: Final = warn
        self._interrupted: Final = Interrupted()
        self._gate: Gate | None = None
        self._held: HeldCalls | None = None

    @property
    def returning_from_signal(self) -> Handler | None:
        """Repair frames of calls that were never received."""
        return self._interrupted.returning if can_repair() else None

    async def start(
        self,
        program: Program,
        decisions: Decisions,
        changed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Launch the program, and receive its calls on a thread."""
        self._interrupted.trapped = decisions.traps
        listener = Listener(launch(program.parked, program.argv, program.environment, decisions.filter))
        listener.sync_wake_up()
        self._held = held = HeldCalls(self._loop, Answers(listener.responder()), warn=self._warn)
        self._gate = Gate(
            listener,
            decisions.handlers,
            self._interrupted.received,
            skipped=self._skipped,
            hold=held.hold,
            warn=self._warn,
        )
        self._loop.add_signal_handler(signal.SIGCHLD, changed)
        threading.Thread(target=self._gate.serve, name="gate", daemon=True).start()
        changed()

    def status(self, pid: int) -> int | None:
        """Return the status of a child of ours, which reaps it if it has ended."""
        try:
            reaped, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return None
        return status if reaped else None

    def forget_thread(self, tid: int) -> None:
        """Look at a thread afresh."""
        if self._gate is not None and self._held is not None:
            self._gate.threads.forget(tid)
            self._held.forget_thread(tid)

    def forget_threads(self) -> None:
        """Look at every thread afresh."""
        if self._gate is not None and self._held is not None:
            self._gate.threads.forget_all()
            self._held.forget_threads()
