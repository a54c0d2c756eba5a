"""Serving the calls of a program, however it came under the session: the gates and what they hold."""

import asyncio
import sys
import threading
from collections.abc import Mapping
from typing import Final

from mirrord_seccomp.notify import Listener

from mirrord.config.model import Settings
from mirrord.session.say import Sayings
from mirrord.syscall import Handler, Tid, Wait
from mirrord.tracer.call import NotifiedCall
from mirrord.tracer.gate import Gate
from mirrord.tracer.held import HeldCalls
from mirrord.tracer.interrupted import Interrupted, can_repair
from mirrord.tracer.ledger import Ledger
from mirrord.tracer.recorder import Recorder

_SWITCH_INTERVAL: Final = 0.0005
"""Seconds for which a thread may keep the interpreter from another: the gate must not wait long for a relay
(default 0.005).
"""


class Serving:
    """The gates of a session: one for each listener, which all processes share that have its filter."""

    def __init__(self, settings: Settings, sayings: Sayings) -> None:
        self._settings: Final = settings
        self._sayings: Final = sayings
        self._gates: Final[list[tuple[Gate, HeldCalls]]] = []
        self._recorder: Recorder | None = None
        self.interrupted: Final = Interrupted()

    @property
    def returning_from_signal(self) -> Handler | None:
        """The decision of ``rt_sigreturn``, None where it needs none."""
        return self.interrupted.returning if can_repair() else None

    def forget_thread(self, tid: Tid) -> None:
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

    def serve(
        self, listener: Listener, handlers: Mapping[int, Handler], *, ledger: Ledger | None = None
    ) -> None:
        """Begin to answer what arrives at a listener, on a thread of its own; what waits is noted in the
        ledger.
        """
        listener.sync_wake_up()
        held = HeldCalls(asyncio.get_running_loop(), listener.responder(), warn=self._sayings.warn)

        def hold(call: NotifiedCall, wait: Wait) -> None:
            if ledger is not None:
                ledger.hold(call.id, listener.valid)
            held.hold(call, wait)

        gate = Gate(
            listener,
            handlers,
            self.interrupted.received,
            skipped=self._settings.skipped_processes,
            hold=hold,
            warn=self._sayings.warn,
        )
        gate.recorder = self._recorder
        self._gates.append((gate, held))
        sys.setswitchinterval(_SWITCH_INTERVAL)
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
