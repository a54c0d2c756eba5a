"""The engine ``notify``: trapped calls arrive on seccomp listeners, and the program runs free of ptrace."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from mirrord_seccomp.notify import Listener
from mirrord_seccomp.rules import Action, Rule

from mirrord.syscall import Handler, Wait
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.engine import Decisions, Program, be_quick
from mirrord.tracer.excuses import Warn
from mirrord.tracer.gate import Answers, CarryOutItself, Gate
from mirrord.tracer.held import HeldCalls
from mirrord.tracer.interrupted import Interrupted, can_repair
from mirrord.tracer.itself import carry_out_itself
from mirrord.tracer.launch import launch
from mirrord.tracer.ledger import Ledger
from mirrord.tracer.recorder import Recorder


class NotifyEngine:
    """The gates of a session, the calls that they hold, and what signals have interrupted.

    There is a gate for each listener, which all processes share that have its filter.
    """

    trap: Action = Action.NOTIFY
    find_kept: Callable[[int], socket.socket | None] | None = None
    own_rows: Sequence[tuple[Rule, Handler]] = ()

    def __init__(self, *, skipped: frozenset[str], warn: Warn) -> None:
        self._skipped: Final = skipped
        self._warn: Final = warn
        self._gates: Final[list[tuple[Gate, HeldCalls]]] = []
        self._launched: tuple[Listener, Mapping[int, Handler]] | None = None
        self._recorder: Recorder | None = None
        self.interrupted: Final = Interrupted()

    @property
    def returning_from_signal(self) -> Handler | None:
        """Repair frames of calls that were never received."""
        return self.interrupted.returning if can_repair() else None

    async def launch(self, program: Program, decisions: Decisions) -> None:
        """Start the program, and take its listener."""
        self.interrupted.trapped = decisions.traps
        listener = Listener(launch(program.parked, program.argv, program.environment, decisions.filter))
        self._launched = (listener, decisions.handlers)

    def begin(self, changed: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Receive the program's calls on a thread."""
        assert self._launched is not None
        self.serve(*self._launched)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, changed)

    def serve(
        self,
        listener: Listener,
        handlers: Mapping[int, Handler],
        *,
        ledger: Ledger | None = None,
        itself: CarryOutItself | None = None,
    ) -> None:
        """Begin to answer what arrives at a listener, on a thread of its own; what waits is noted in the
        ledger. ``itself`` has threads do what nobody can do for them, in place of this process.
        """
        listener.sync_wake_up()
        answers = Answers(listener.responder(), itself or partial(carry_out_itself, warn=self._warn))
        held = HeldCalls(asyncio.get_running_loop(), answers, warn=self._warn)

        def hold(call: TrappedCall, wait: Wait) -> None:
            if ledger is not None:
                ledger.hold(call.id, listener.valid)
            held.hold(call, wait)

        gate = Gate(
            listener,
            handlers,
            self.interrupted.received,
            skipped=self._skipped,
            hold=hold,
            warn=self._warn,
        )
        gate.recorder = self._recorder
        self._gates.append((gate, held))
        be_quick()
        threading.Thread(target=gate.serve, name="gate", daemon=True).start()

    def record(self, recorder: Recorder | None) -> None:
        """Have every call remembered from now on, or no more."""
        self._recorder = recorder
        for gate, _ in self._gates:
            gate.recorder = recorder

    def let_go(self) -> None:
        """Continue every call that waits; the handlers do so with those that come from now on."""
        for _, held in self._gates:
            held.let_go()

    def status(self, pid: int) -> int | None:
        """Return the status of a child of ours, which reaps it if it has ended."""
        try:
            reaped, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return None
        return status if reaped else None

    def forget_thread(self, tid: int) -> None:
        """Look at a thread afresh."""
        for gate, held in self._gates:
            gate.threads.forget(tid)
            held.forget_thread(tid)
        if self._recorder is not None:
            self._recorder.forget(tid)

    def forget_threads(self) -> None:
        """Look at every thread afresh."""
        for gate, held in self._gates:
            gate.threads.forget_all()
            held.forget_threads()
