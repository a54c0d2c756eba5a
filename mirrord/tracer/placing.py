"""Keep a thread that makes one trapped call after another on the tracer's CPU, for as long as it does.

A stop wakes the tracer, and the tracer wakes the thread. On one CPU both are switches, 14 µs a call in all;
on two each is an interrupt to a CPU that sleeps, 40 to 100 µs in a virtual machine. The scheduler wakes whom
it can on an idle CPU, and ptrace has no synchronous wake-up as seccomp notifications have. So the two are
bound to one CPU by their affinity (sched_setaffinity(2)), and have their own again as soon as the thread is
quiet, another one calls too, or the program asks for an affinity. A new thread inherits that of its parent,
and gets its own before it runs. Only threads that end with their tracer are bound: nobody else would unbind
them.
"""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from mirrord_seccomp.rules import Action, Rule

from mirrord.syscall import CONTINUE, Handler, Verdict
from mirrord.tracer.sys import current_cpu

_ENOUGH: Final = 16
"""Stops of one thread in a row, each soon after the one before, that are worth half a dozen calls."""
_SOON: Final = 5_000_000
_QUIET: Final = 10_000_000
"""Nanoseconds, both; a thread that is bound in vain loses at most so much and a tick on another idle CPU."""
_TICK: Final = 0.005


class Placing:
    """The one thread that is bound, if any."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._lock: Final = threading.Lock()
        self._last: int = 0
        """Whose stop was the last one."""
        self._when: int = 0
        self._in_a_row: int = 0
        self.bound: int = 0
        """The thread that is bound, 0 if none is."""
        self._cpu: frozenset[int] = frozenset()
        self._its: frozenset[int] = frozenset()
        """Where the thread that is bound, or was the last to be, may run by its own affinity."""
        self._ours: frozenset[int] = frozenset()
        self._tracer: int = 0
        self._ticking: bool = False
        self._off: bool = False

    def stopped(self, tid: int) -> None:
        """Take note of a thread's call; on the tracer's thread, as all that follows."""
        now = time.monotonic_ns()
        if tid == self._last and now - self._when < _SOON:
            self._in_a_row += 1
            if self._in_a_row >= _ENOUGH and not self.bound:
                self._bind(tid)
        else:
            if self.bound and tid != self.bound:
                self.release()
            self._last, self._in_a_row = tid, 0
        self._when = now

    def appeared(self, tid: int) -> None:
        """Give a new thread the affinity that its parent had from its program."""
        if self._cpu and tid != self.bound:
            with suppress(ProcessLookupError):
                if os.sched_getaffinity(tid) == self._cpu:
                    os.sched_setaffinity(tid, self._its)

    def renamed(self, former: int, tid: int) -> None:
        """Take note that a thread has its leader's number now."""
        with self._lock:
            if self.bound == former:
                self.bound = tid

    def ended(self, tid: int) -> None:
        """Take note that a thread is gone."""
        if tid == self.bound:
            self.release()

    def rows(self, trap: Action) -> Sequence[tuple[Rule, Handler]]:
        """Have the program see its own affinity; once it changes one nobody is bound any more."""
        return [
            (Rule("sched_getaffinity", trap), lambda _: self._asked(changes=False)),
            (Rule("sched_setaffinity", trap), lambda _: self._asked(changes=True)),
        ]

    def _asked(self, *, changes: bool) -> Verdict:
        self._off |= changes
        self._in_a_row = 0
        self.release()
        return CONTINUE

    def release(self) -> None:
        """Give thread and tracer their own affinity again; from any thread."""
        with self._lock:
            tid, self.bound = self.bound, 0
            if tid:
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(tid, self._its)
                os.sched_setaffinity(self._tracer, self._ours)

    def _bind(self, tid: int) -> None:
        if self._off:
            return
        with self._lock:
            try:
                self._its, self._ours = map(frozenset, (os.sched_getaffinity(tid), os.sched_getaffinity(0)))
                common = self._its & self._ours
                if len(common) < 2:
                    return
                here = current_cpu()
                self._cpu = frozenset({here if here in common else min(common)})
                os.sched_setaffinity(0, self._cpu)
                os.sched_setaffinity(tid, self._cpu)
            except OSError:
                # it is not ours to move (a setuid program), or its CPUs have just been taken away
                self._off = True
                os.sched_setaffinity(0, self._ours)
                return
            self._tracer = threading.get_native_id()
            self.bound = tid
            if not self._ticking:
                self._ticking = True
                self._loop.call_soon_threadsafe(self._later)

    def _later(self) -> None:
        self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        if self.bound and time.monotonic_ns() - self._when > _QUIET:
            self.release()
        with self._lock:
            self._ticking = bool(self.bound)
        if self._ticking:
            self._later()
