"""Have a thread that makes one trapped call after another run on the tracer's CPU, for as long as it does.

On one CPU a stop is two switches, some 10 µs with what the tracer does; on two it is two interrupts, each to
a CPU that sleeps, some 90 in a virtual machine. The scheduler wakes whom it can on an idle CPU, and ptrace
has no synchronous wake-up as seccomp notifications have. So tracer and thread are both bound to the tracer's
CPU (sched_setaffinity(2)), and let go when the thread is quiet, when another one calls as well, and when it
runs another program.

The program must not be able to tell, nor lose anything by it:

* One thread is bound at a time, and only if it has the affinity that the program was started with.
* What it makes meanwhile inherits that it is bound. The child is let go at its parent's event or at its own
  first stop, whichever comes first, so it has not run by then.
* Who asks for an affinity gets the one from before. When the program sets one, nobody is bound any more.
* Only threads that end with their tracer are bound: nobody else would let them go.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from mirrord_seccomp.rules import Action, Rule

from mirrord.syscall import CONTINUE, Call, Handler, Verdict
from mirrord.tracer.sys import current_cpu
from mirrord.tracer.threads import has_capability

_CAP_SYS_NICE: Final = 23
_ENOUGH: Final = 16
"""Calls of one thread in a row, each soon after the one before, that are worth binding it."""
_SOON: Final = 5_000_000
_QUIET: Final = 10_000_000
"""Nanoseconds, both."""
TICK: Final = 0.005
"""Seconds between two looks at whether the thread that is bound is quiet: so much later it is seen."""

Later = Callable[[Callable[[], None]], None]


class Placing:
    """The one thread that is bound, if any; used on the tracer's thread."""

    def __init__(self, later: Later | None = None, ring: Callable[[], None] = lambda: None) -> None:
        """``later`` has something called on another thread after :data:`TICK`; without it none is bound.
        ``ring`` makes the tracer, which waits for stops and for nothing else, look up from that.
        """
        self._later: Final = later
        self._ring: Final = ring
        self._all: Final = os.sched_getaffinity(0)
        """Where the program may run as it is started."""
        self.bound = 0
        """The thread that is bound, 0 if none is."""
        self._each: Final = [{cpu} for cpu in self._all]
        self._here: set[int] = set()
        """The CPU of the thread that is bound."""
        self._off = later is None or not _may_bind(self._all)
        self._used = False
        self._last = 0
        """Whose call was the last one, …"""
        self._when = 0
        """… when it was, …"""
        self._in_a_row = 0
        """… and how many of the same thread's came soon after another before it."""
        self._ticking = False

    @property
    def together(self) -> bool:
        """Tell whether who is waited for can only run on the CPU of who waits."""
        return bool(self.bound) or len(self._all) == 1

    def called(self, tid: int) -> None:
        """Take note of a thread's trapped call."""
        now = time.monotonic_ns()
        if tid != self._last:
            self._last, self._in_a_row = tid, 0
            self.release()
        elif not self.bound:
            self._in_a_row = self._in_a_row + 1 if now - self._when < _SOON else 0
            if self._in_a_row >= _ENOUGH and not self._off:
                self._bind(tid)
        self._when = now

    def made(self, tid: int, parent: int) -> None:
        """Let a new thread go at the event of its parent, which may have been let go since.

        Else it has its parent's affinity: nobody can have said yet where it is to run.
        """
        if self._used and (not self._off or os.sched_getaffinity(parent) == self._all):
            self._let_go(tid, self._each)

    def appeared(self, tid: int) -> None:
        """Let a new thread go at its own first stop, which may be the earlier one, or come after its parent
        has gone on, and has said where it is to run.
        """
        if self._used and not self._off:
            self._let_go(tid, self._each)

    def executed(self, tid: int) -> None:
        """Let go who runs another program, as its process's leader, whatever its number was before."""
        self.release()
        self.appeared(tid)

    def ended(self, tid: int) -> None:
        """Take note that a thread is no more."""
        if tid == self.bound:
            self.release()

    def release(self) -> None:
        """Let the thread go that is bound."""
        if self.bound:
            tid, self.bound = self.bound, 0
            self._in_a_row = 0
            self._let_go(tid, [self._here])
            os.sched_setaffinity(0, self._all)

    def look(self) -> None:
        """Let the thread go if it is quiet."""
        if time.monotonic_ns() - self._when > _QUIET:
            self.release()

    def rows(self, trap: Action) -> Sequence[tuple[Rule, Handler]]:
        """Return the calls by which a program looks at affinities, and sets them."""
        return [(Rule("sched_getaffinity", trap), self._got), (Rule("sched_setaffinity", trap), self._set)]

    def _got(self, call: Call) -> Verdict:
        self.release()
        return CONTINUE

    def _set(self, call: Call) -> Verdict:
        self.release()
        self._off = True
        return CONTINUE

    def _bind(self, tid: int) -> None:
        try:
            here = {current_cpu()}
            if here not in self._each or os.sched_getaffinity(tid) != self._all:
                return
            self.bound, self._here, self._used = tid, here, True
            os.sched_setaffinity(tid, here)
            os.sched_setaffinity(0, here)
        except OSError:
            # it was killed, or its CPU has just been taken from us
            self.release()
            return
        if self._later is not None and not self._ticking:
            self._ticking = True
            self._later(self._tick)

    def _let_go(self, tid: int, bound_to: list[set[int]]) -> None:
        # else it was killed, or somebody else has said meanwhile where it may run
        with suppress(OSError):
            if os.sched_getaffinity(tid) in bound_to:
                os.sched_setaffinity(tid, self._all)

    def _tick(self) -> None:
        self._ticking = False
        if self._later is not None and self.bound:
            # two that tick, if it is bound just now, are better than none
            self._ticking = True
            if time.monotonic_ns() - self._when > _QUIET:
                self._ring()
            self._later(self._tick)


def _may_bind(cpus: set[int]) -> bool:
    """Tell whether there is a choice, and whether who is bound can be let go, whatever user it has become:
    only a root without CAP_SYS_NICE starts programs that can become somebody else's.
    """
    return len(cpus) > 1 and (os.geteuid() != 0 or has_capability(os.getpid(), _CAP_SYS_NICE))
