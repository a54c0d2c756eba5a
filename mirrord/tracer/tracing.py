"""The ptrace engine: the program and all its descendants are traced for their whole life.

One thread launches, waits and makes every request, since the kernel takes a tracer to be a thread, not a
process. It decides local calls at once; a call that has to wait for something remote stays stopped and goes
to the event loop (``held.py``), whose answer comes back by a queue and a bell (``bell.py``).

Facts, and what follows from them here:

* A new thread's first stop may be reported before or after its parent's event. Nothing of the parent is
  needed to let it run, so either may come first; only the count of the living has to know of both.
* All that is there to be reported is collected before any of it is handled: when a thread executes a program,
  stops of threads that are gone by then may have been reported before.
* After that the thread has its leader's number; neither its own number nor the old leader reports an end.
* A request about a thread that was killed fails with ESRCH. Its end is reported, so that is no matter.
* A signal, SIGKILL excepted, waits until a stopped thread is resumed: a trapped call is never interrupted.
"""

import errno
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final

from mirrord_seccomp.notify import NotificationId
from mirrord_seccomp.rules import Action
from mirrord_seccomp.syscalls import current_arch
from mirrord_seccomp.syscalls import number as number_of

from mirrord.errors import MirrordError
from mirrord.syscall import CONTINUE, Enter, GiveFd, Gone, Handler, OpenPath, Tid, Verdict, Wait
from mirrord.tracer.bell import Bell
from mirrord.tracer.call import TakingCall, TrappedCall
from mirrord.tracer.carry import Carrier
from mirrord.tracer.excuses import Excuses, Warn
from mirrord.tracer.placing import Placing
from mirrord.tracer.recorded import RecordedCall
from mirrord.tracer.recorder import Recorder
from mirrord.tracer.spin import Spin
from mirrord.tracer.stops import (
    PTRACE_CONT,
    AtCall,
    Ended,
    Executed,
    GroupStopped,
    HasChild,
    Noticed,
    Passing,
    Signalled,
    Stopped,
    Trap,
    Trapped,
    decode,
)
from mirrord.tracer.sys import WALL, WNOTHREAD
from mirrord.tracer.threads import Threads

_OURS: Final = 0x6D72
"""What our filter says with its stops: a filter of the program's own may trace, too."""
TRACE: Final = Action.TRACE(_OURS)
_CONNECTING: Final = {number_of(name, current_arch()) for name in ("connect", "sendto", "sendmsg")}
"""Calls that may connect a TCP socket, by MSG_FASTOPEN too."""
_MINE: Final = WALL | WNOTHREAD
_MINE_NOW: Final = _MINE | os.WNOHANG

Hold = Callable[[TrappedCall, Wait], None]
Keep = Callable[[int], None]
Report = Callable[[int, int], None]
"""Take note of a process's stop or end: its number, and the status that wait(2) gives."""


class Tracing:
    """Serves the tracees of one thread with a table of handlers."""

    def __init__(
        self,
        handlers: Mapping[int, Handler],
        bell: Bell,
        *,
        skipped: frozenset[str] = frozenset(),
        hold: Hold,
        warn: Warn,
        report: Report,
        keep: Keep | None = None,
        placing: Placing | None = None,
        going: int = PTRACE_CONT,
        outlive: bool = False,
    ) -> None:
        """``keep`` is given where pidfd_getfd(2) is not allowed; it is told of sockets to be connected.
        ``placing`` is given where threads end with their tracer: it may bind them to a CPU.
        ``going`` is the request by which threads go on, ``outlive`` tells that they do so after we are
        killed.
        """
        self._going: Final = going
        self._handlers: Final = handlers
        self._bell: Final = bell
        self._hold: Final = hold
        self._report: Final = report
        self._excuses: Final = Excuses(warn)
        # a thread that is being decided about is stopped: its number cannot become another's
        self.threads: Final = Threads(lambda call: True, skipped)
        self._arch: Final = current_arch().audit
        self._carrier: Final = Carrier(self._ended, may_duplicate=keep is None, going=going, outlive=outlive)
        self._keep: Final = keep
        self._make_call: Final = TrappedCall if keep is None else TakingCall
        self.recorder: Recorder | None = None
        """Who remembers calls, while somebody watches; set from any thread."""
        self._spin: Final = Spin()
        self._placing: Final = placing or Placing()
        self._ids: Final = count(1)
        self._alive: Final[set[int]] = set()
        self._early: Final[set[int]] = set()
        """Threads that were seen before their parents told of them."""
        self._held: Final[dict[int, tuple[NotificationId, Trapped, Trap]]] = {}
        self._waiting: Final[set[NotificationId]] = set()
        self._answers: Final[deque[tuple[TrappedCall, Verdict]]] = deque()
        self._asleep = False
        self._handle: Final[dict[type[Stopped], Callable[..., None]]] = {
            Trapped: self._trapped,
            Signalled: self._signalled,
            GroupStopped: self._group_stopped,
            Noticed: self._noticed,
            HasChild: self._has_child,
            Executed: self._executed,
            AtCall: self._carrier.at_call,
            Passing: self._carrier.resume,
        }

    def serve(self, program: int) -> None:
        """Let the launched program go, and serve until the last of its descendants has ended."""
        block_signals()
        self._alive.add(program)
        with suppress(ProcessLookupError):
            # else it was killed meanwhile, which the wait will tell
            Stopped(program, 0).resume(self._going)
        self._serve()

    def _serve(self) -> None:
        while self._goes_on():
            for tid, status in self._collect():
                self._take(tid, status)
            while self._answers:
                self._give_answer(*self._answers.popleft())
        self._carrier.close()

    def _goes_on(self) -> bool:
        return bool(self._alive)

    def valid(self, id: NotificationId) -> bool:
        """Tell whether a held call still waits; from any thread."""
        return id in self._waiting

    def carry_out(self, call: TrappedCall, verdict: Verdict) -> None:
        """Answer a held call; from any thread."""
        self._answers.append((call, verdict))
        if self._asleep:
            self._bell.ring()

    def _collect(self) -> list[tuple[int, int]]:
        """Wait for something to be reported, or to be answered; return all that was reported."""
        first = self._look() or self._sleep()
        if first is None:
            return []
        found = [first]
        if len(self._alive) > 1:
            while (more := os.waitpid(-1, _MINE_NOW))[0]:
                found.append(more)
        return found

    def _look(self) -> tuple[int, int] | None:
        if self._placing.together:
            # who is waited for needs the CPU
            return None
        return self._spin.wait(lambda: os.waitpid(-1, _MINE_NOW), self._answers)

    def _sleep(self) -> tuple[int, int] | None:
        self._asleep = True
        try:
            # an answer that came before we said that we sleep has not rung the bell
            return None if self._answers else os.waitpid(-1, _MINE)
        finally:
            self._asleep = False

    def _take(self, tid: int, status: int) -> None:
        stop = decode(tid, status)
        if isinstance(stop, Ended):
            self._ended(stop)
            return
        try:
            self._handle[type(stop)](stop)
        except ProcessLookupError:
            # it was killed; its end will be reported
            return

    def _trapped(self, stop: Trapped) -> None:
        trap = stop.trap()
        if trap.data != _OURS:
            # what a call gets that a filter wants traced by somebody who is not there (seccomp(2))
            self._carrier.skip(stop, -errno.ENOSYS)
            return
        self._placing.called(stop.tid)
        self._decide(stop, trap)

    def _decide(self, stop: Trapped, trap: Trap) -> None:
        if self._keep is not None and self._carrier.passes(stop.tid, trap):
            self._carrier.resume(stop)
            return
        call = self._call(stop, trap)
        try:
            verdict = self._handlers[trap.number](call)
        except Exception as error:  # a call always gets an answer
            verdict = self._excuses.answer(call, trap.number, error)
        if isinstance(call, RecordedCall):
            call.look_closer()
        elif verdict is CONTINUE and self._keep is None:
            stop.resume(self._going)
            return
        if type(verdict) is Wait:
            self._held[stop.tid] = (call.id, stop, trap)
            self._waiting.add(call.id)
            self._carrier.rest(stop.tid)
            self._hold(call, verdict)
        else:
            self._carry_out(call, stop, trap, verdict)

    def _carry_out(
        self, call: TrappedCall, stop: Trapped, trap: Trap, verdict: Verdict, *, held: bool = False
    ) -> None:
        """Answer a call, and note what it got: at its end where the kernel runs it and that is asked for."""
        told = call.result_of(verdict) if isinstance(call, RecordedCall) else None
        self._carrier.tell(stop.tid, told)
        result = self._carrier.carry_out(call, stop, trap, verdict, held=held)
        if told is None:
            call.answered(verdict, result)

    def _call(self, stop: Trapped, trap: Trap) -> TrappedCall:
        id, tid, recorder = NotificationId(next(self._ids)), Tid(stop.tid), self.recorder
        call: TrappedCall
        if recorder is None:
            call = self._make_call(id, tid, trap.number, trap.arguments, self.threads)
        else:
            call = RecordedCall(id, tid, trap.number, trap.arguments, self.threads, recorder)
        if self._keep is not None and isinstance(call, TakingCall | RecordedCall):
            call.take = partial(self._take_descriptor, call, stop, trap)
        return call

    def _take_descriptor(self, call: TrappedCall, stop: Trapped, trap: Trap, fd: int) -> int:
        taken = self._carrier.take(stop, trap, fd)
        if call.number in _CONNECTING and self._keep is not None:
            self._keep(taken)
        return taken

    def _give_answer(self, call: TrappedCall, verdict: Verdict) -> None:
        id, stop, trap = self._held.get(call.tid, (None, None, None))
        if id != call.id or stop is None or trap is None:
            if isinstance(verdict, GiveFd):
                verdict.refused(verdict.fd)
            elif isinstance(verdict, Enter | OpenPath):
                os.close(verdict.fd)
            return
        self._forget_held(call.tid)
        call.threads = self.threads
        if isinstance(call, RecordedCall):
            call.held = True
        try:
            self._carry_out(call, stop, trap, verdict, held=True)
        except (ProcessLookupError, Gone):
            return

    def _signalled(self, stop: Signalled) -> None:
        if stop.tid == self._bell.pid:
            stop.resume()
            self._placing.look()
        else:
            self._carrier.resume(stop, stop.signal)

    def _group_stopped(self, stop: GroupStopped) -> None:
        self._see(stop.tid)
        stop.listen()
        self._report(stop.tid, stop.status & 0xFFFF)

    def _noticed(self, stop: Noticed) -> None:
        self._see(stop.tid)
        self._placing.appeared(stop.tid)
        self._carrier.resume(stop)

    def _see(self, tid: int) -> None:
        if tid not in self._alive and tid != self._bell.pid:
            self._alive.add(tid)
            self._early.add(tid)

    def _has_child(self, stop: HasChild) -> None:
        child = stop.message()
        if child in self._early:
            self._early.remove(child)
        else:
            self._alive.add(child)
        self._placing.made(child, stop.tid)
        self._carrier.resume(stop)

    def _executed(self, stop: Executed) -> None:
        former = stop.message()
        told = self._carrier.told(former)
        self._placing.executed(stop.tid)
        if former != stop.tid:
            self._forget(former)
            self._alive.discard(former)
        self._forget(stop.tid)
        if stop.arch() != self._arch:
            self._excuses.tell(stop.tid, "it is of another architecture than this machine (32-bit?)")
        self._carrier.tell(stop.tid, told)
        self._carrier.resume(stop)

    def _ended(self, stop: Ended) -> None:
        if stop.tid == self._bell.pid:
            raise MirrordError("the process that wakes the tracer was killed, so the session has ended")
        self._placing.ended(stop.tid)
        self._forget(stop.tid)
        self._alive.discard(stop.tid)
        self._report(stop.tid, stop.status)

    def _forget(self, tid: int) -> None:
        self.threads.forget(tid)
        self._carrier.forget(tid)
        self._forget_held(tid)

    def _forget_held(self, tid: int) -> None:
        if tid in self._held:
            id, _, _ = self._held.pop(tid)
            self._waiting.discard(id)


def block_signals() -> None:
    """Leave signals to other threads, but for SIGCHLD, which comes with every stop.

    It is for the tracer's thread first, and nothing is done about it (SIG_DFL): so the kernel drops it before
    it is sent. Blocked here it would be kept, for any thread of the process, and wake the main one at every
    stop (sig_ignored() and complete_signal() of kernel/signal.c).
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD})
