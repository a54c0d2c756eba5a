"""The ptrace engine on processes that ran before it: they are followed without a filter.

A filter never comes off, and what one traces fails with ENOSYS once nobody traces. So here every call of the
process stops its thread, at its start and at its end, as under strace(1); what a filter would have let pass
goes on at once. In return nothing of a session is left when it ends, however it does.

Facts, and what follows from them here:

* The kernel lets go of a tracer's tracees when its thread ends, whatever ends it (ptrace(2)); one that stands
  at a call runs it as it was made, and a signal that was not reported yet is delivered. So to let go is to
  end, and no thread is stopped for that.
* A thread is seized while it runs, and stops at its calls only when it was let go on by PTRACE_SYSCALL: so
  each is interrupted once. What it waited for in the kernel is called for again, and then decided like any
  other call.
* A child is followed from its first instruction if its parent was seized when it began to fork. So threads
  are looked for once more when those that were found have stopped.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mirrord.errors import AttachError
from mirrord.tracer import attachable
from mirrord.tracer.bell import Bell
from mirrord.tracer.engine import Decisions
from mirrord.tracer.excuses import Warn
from mirrord.tracer.stopping import have_repeated, threads_of
from mirrord.tracer.stops import AT_START, PTRACE_SYSCALL, AtCall, Ended, GroupStopped, Noticed
from mirrord.tracer.sys import (
    PTRACE_INTERRUPT,
    PTRACE_O_TRACECLONE,
    PTRACE_O_TRACEEXEC,
    PTRACE_O_TRACEFORK,
    PTRACE_O_TRACESYSGOOD,
    PTRACE_O_TRACEVFORK,
    PTRACE_SEIZE,
    WALL,
    WNOTHREAD,
    ptrace,
)
from mirrord.tracer.tracing import Hold, Keep, Tracing

_FOLLOW: Final = (
    PTRACE_O_TRACESYSGOOD
    | PTRACE_O_TRACEEXEC
    | PTRACE_O_TRACEFORK
    | PTRACE_O_TRACEVFORK
    | PTRACE_O_TRACECLONE
)
"""Without PTRACE_O_EXITKILL: who was there before us lives on after us."""
_REPORTED: Final = WALL | WNOTHREAD | os.WNOHANG


class Following(Tracing):
    """Serves processes that were seized while they ran."""

    def __init__(
        self,
        decisions: Decisions,
        bell: Bell,
        *,
        skipped: frozenset[str] = frozenset(),
        hold: Hold,
        warn: Warn,
        keep: Keep | None = None,
        settled: Callable[[float], None],
    ) -> None:
        """``settled`` is called once, when every thread has been stopped and goes on, with the seconds that
        this took.
        """
        super().__init__(
            decisions.handlers,
            bell,
            skipped=skipped,
            hold=hold,
            warn=warn,
            report=_told_to_nobody,
            keep=keep,
            going=PTRACE_SYSCALL,
        )
        self._traps: Final = decisions.traps
        self._settled: Callable[[float], None] | None = settled
        self.followed: Final[list[int]] = []
        """The processes that were taken over."""
        self._interrupted: Final[set[int]] = set()
        """Threads that have not been stopped yet."""
        self._leaving = False
        self._began = 0.0
        self._handle[AtCall] = self._at_call

    def take_over(self, pid: int) -> int:
        """Seize every thread of a process; return how many it has. On the thread that will serve.

        Raises AttachError; what was seized is let go of when this thread ends.
        """
        self._began = self._began or time.perf_counter()
        found = self._seize_all(pid)
        self.followed.append(pid)
        return found

    def follow(self) -> None:
        """Serve until the last process has ended, or until :meth:`leave`."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._serve()
        # a signal that was reported is lost unless its thread is let go on with it
        reported = []
        while self._alive and (found := os.waitpid(-1, _REPORTED))[0]:
            reported.append(found)
        for tid, status in reported:
            self._take(tid, status)

    def leave(self) -> None:
        """Let go of everything as soon as all that is held has been answered; from any thread."""
        self._leaving = True
        with suppress(ProcessLookupError):
            # else it has ended
            self._bell.ring()

    def _goes_on(self) -> bool:
        return super()._goes_on() and not (self._leaving and not self._held and not self._answers)

    def _seize_all(self, pid: int) -> int:
        seen: set[int] = set()
        try:
            while new := threads_of(pid) - seen:
                for tid in new - self._alive:
                    self._seize(pid, tid)
                seen |= new
        except ProcessLookupError as error:
            raise AttachError(f"process {pid} has ended meanwhile") from error
        return len(seen)

    def _seize(self, pid: int, tid: int) -> None:
        try:
            ptrace(PTRACE_SEIZE, tid, 0, _FOLLOW)
            self._alive.add(tid)
            self._interrupted.add(tid)
            ptrace(PTRACE_INTERRUPT, tid)
        except ProcessLookupError:
            # one that was seized reports its end
            return
        except PermissionError as error:
            if not attachable.is_ours_or_ended(tid):
                raise attachable.tracing_refused(pid) from error

    def _first_stop(self, tid: int) -> None:
        """Take note that a thread has been stopped, and is about to go on, or has ended."""
        if tid not in self._interrupted:
            return
        self._interrupted.remove(tid)
        if self._interrupted or self._settled is None:
            return
        for pid in self.followed:
            with suppress(AttachError):
                # what cannot be seized has ended, or has become another program with other rights
                self._seize_all(pid)
        if not self._interrupted:
            self._settled(time.perf_counter() - self._began)
            self._settled = None

    def _noticed(self, stop: Noticed) -> None:
        if stop.tid in self._interrupted:
            have_repeated(stop.tid)
        super()._noticed(stop)
        self._first_stop(stop.tid)

    def _group_stopped(self, stop: GroupStopped) -> None:
        super()._group_stopped(stop)
        self._first_stop(stop.tid)

    def _ended(self, stop: Ended) -> None:
        super()._ended(stop)
        self._first_stop(stop.tid)

    def _at_call(self, stop: AtCall) -> None:
        trap = stop.trap()
        if trap.operation != AT_START:
            self._carrier.at_call(stop)
        elif trap.arch == self._arch and self._is_trapped(trap.number, trap.arguments):
            self._decide(stop, trap)
        else:
            stop.resume(PTRACE_SYSCALL)

    def _is_trapped(self, number: int, arguments: tuple[int, int, int, int, int, int]) -> bool:
        rules = self._traps.get(number)
        return rules is not None and any(rule.matches(arguments) for rule in rules)


def _told_to_nobody(process: int, status: int) -> None:
    """Do nothing of a stop or an end: the process's parent hears of it, which is not us."""
