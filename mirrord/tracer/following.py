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
from mirrord.tracer.stops import AT_START, PTRACE_SYSCALL, AtCall, Ended, Executed, GroupStopped, Noticed
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
    quick_ptrace,
)
from mirrord.tracer.tracing import Hold, Keep, Tracing, block_signals

_FOLLOW: Final = (
    PTRACE_O_TRACESYSGOOD
    | PTRACE_O_TRACEEXEC
    | PTRACE_O_TRACEFORK
    | PTRACE_O_TRACEVFORK
    | PTRACE_O_TRACECLONE
)
"""Without PTRACE_O_EXITKILL: who was there before us lives on after us."""
_SOME: Final = 8
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
        """``settled`` is called once, when every thread has been stopped and goes on, with the seconds for
        which the one was stopped that it took longest with.
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
            outlive=True,
        )
        self._traps: Final = decisions.traps
        self._settled: Callable[[float], None] | None = settled
        self.followed: Final[list[int]] = []
        """The processes that were taken over."""
        self._interrupted: Final[dict[int, float]] = {}
        """Threads that have not been stopped yet, and since when they are to be."""
        self._longest = 0.0
        self._leaving = False
        self._handle[AtCall] = self._at_call

    def take_over(self, pid: int) -> int:
        """Seize every thread of a process; return how many it has. On the thread that will serve.

        Raises AttachError; what was seized is let go of when this thread ends.
        """
        found = self._seize_all(pid)
        self.followed.append(pid)
        return found

    def follow(self) -> None:
        """Serve until the last process has ended, or until :meth:`leave`."""
        block_signals()
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
        if self._settled is not None and not self._interrupted:
            self._look_again()
        return super()._goes_on() and not (self._leaving and not self._held and not self._answers)

    def _look_again(self) -> None:
        """Look for threads that began while others were seized, and tell when there are none."""
        for pid in self.followed:
            with suppress(AttachError):
                # what cannot be seized has ended, or has become another program with other rights
                if self._seize_all(pid):
                    return
        if self._settled is not None:
            self._settled(self._longest)
            self._settled = None

    def _seize_all(self, pid: int) -> int:
        """Seize the threads that a process has; return how many those are that were not seized before."""
        seen: set[int] = set()
        seized = 0
        try:
            while new := threads_of(pid) - self._alive - seen:
                for tid in new:
                    seized += self._seize(pid, tid)
                    # so that none is stopped until all are seized
                    self._take_some()
                seen |= new
        except ProcessLookupError as error:
            raise AttachError(f"process {pid} has ended meanwhile") from error
        return seized

    def _seize(self, pid: int, tid: int) -> bool:
        try:
            quick_ptrace(PTRACE_SEIZE, tid, 0, _FOLLOW)
            self._alive.add(tid)
            self._interrupted[tid] = time.perf_counter()
            quick_ptrace(PTRACE_INTERRUPT, tid)
        except ProcessLookupError:
            # one that was seized reports its end
            return False
        except PermissionError as error:
            if not attachable.is_ours_or_ended(tid):
                raise attachable.tracing_refused(pid) from error
            return False
        return True

    def _take_some(self) -> None:
        """Take what is reported, but not for ever: those that run make calls all the time."""
        with suppress(ChildProcessError):
            for _ in range(_SOME):
                tid, status = os.waitpid(-1, _REPORTED)
                if not tid:
                    return
                self._take(tid, status)

    def _first_stop(self, tid: int) -> None:
        """Take note that a thread has been stopped and goes on, or has ended."""
        since = self._interrupted.pop(tid, None)
        if since is not None:
            self._longest = max(self._longest, time.perf_counter() - since)

    def _noticed(self, stop: Noticed) -> None:
        if stop.tid in self._interrupted:
            have_repeated(stop.tid)
        super()._noticed(stop)
        self._first_stop(stop.tid)

    def _group_stopped(self, stop: GroupStopped) -> None:
        super()._group_stopped(stop)
        self._first_stop(stop.tid)

    def _executed(self, stop: Executed) -> None:
        former = stop.message()
        super()._executed(stop)
        # of neither number comes the stop that was asked for
        for tid in (former, stop.tid):
            self._first_stop(tid)

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
