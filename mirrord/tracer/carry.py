"""Carry verdicts out in the registers and the memory of a traced thread."""

import errno
import os
from collections.abc import Callable, Iterable
from typing import Final

from mirrord_seccomp.syscalls import Arch, current_arch, number

from mirrord.syscall import Enter, Fail, GiveFd, Gone, OpenPath, Return, Verdict
from mirrord.tracer import registers, signals
from mirrord.tracer.borrowed import Borrowed, Died
from mirrord.tracer.borrowing import borrowing
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.give import Giver
from mirrord.tracer.itself import open_tree_flags
from mirrord.tracer.registers import LAYOUTS
from mirrord.tracer.rewrite import Rewrite
from mirrord.tracer.stops import PTRACE_CONT, PTRACE_SYSCALL, AtCall, Ended, Stopped, Trap, Trapped
from mirrord.tracer.sys import PTRACE_INTERRUPT, process_vm_write, ptrace
from mirrord.tracer.take import Taker


def _number(name: str) -> int:
    found = number(name, current_arch())
    assert found is not None, name
    return found


Told = Callable[[int | None], None]
"""Takes the result of a call that the kernel runs, None where it does not return."""
_FCHDIR, _OPEN_TREE, _CLOSE = map(_number, ("fchdir", "open_tree", "close"))


class Carrier:
    """Does to stopped threads what was decided about their calls.

    Requests raise ProcessLookupError when the thread was killed meanwhile.
    """

    def __init__(
        self,
        ended: Callable[[Ended], None],
        *,
        may_duplicate: bool = True,
        going: int = PTRACE_CONT,
        outlive: bool = False,
    ) -> None:
        """``ended`` is told of a thread that ends while it is waited for here, ``may_duplicate`` tells
        whether pidfd_getfd(2) is allowed, ``going`` is the request by which threads go on, ``outlive`` tells
        that they do so after we are killed.
        """
        self._ended: Final = ended
        self._going: Final = going
        # where calls are held in threads that have done something else, one way back would not do for all
        self._borrowing: Final = borrowing(guarded=outlive and may_duplicate)
        self._layout: Final = LAYOUTS[current_arch()]
        self._giver: Final = Giver(by_name=not may_duplicate)
        self._taker: Final = None if may_duplicate else Taker()
        self._rewritten: Final[dict[int, tuple[int, int]]] = {}
        """Which argument of a thread's present call is to be put back, and what it was."""
        self._borrowed: Final[dict[int, Borrowed]] = {}
        """Threads that do something else in place of their calls."""
        self._passing: Final[dict[int, tuple[Trap, Told | None]]] = {}
        """Calls that are made once more, to be run by the kernel, and whom to tell their results."""
        self._told: Final[dict[int, Told]] = {}
        """Whom to tell the result of a thread's present call."""

    def forget(self, tid: int) -> None:
        """Take note that a thread has ended, or executed another program."""
        self._giver.forget(tid)
        self._borrowing.forget(tid)
        self._rewritten.pop(tid, None)
        self._borrowed.pop(tid, None)
        for told in (self.told(tid), self._passing.pop(tid, (None, None))[1]):
            if told is not None:
                told(None)

    def tell(self, tid: int, told: Told | None) -> None:
        """Have the result told of a call that is about to be continued."""
        if told is not None:
            self._told[tid] = told

    def told(self, tid: int) -> Told | None:
        """Return who was to be told, and will not be."""
        return self._told.pop(tid, None)

    def close(self) -> None:
        """Close what descriptors were taken by."""
        if self._taker is not None:
            self._taker.close()

    def rest(self, tid: int) -> None:
        """Give a thread that will be held its signal mask back: whether a signal waits is seen by that."""
        if (thread := self._borrowed.get(tid)) is not None:
            thread.unblock()

    def passes(self, tid: int, trap: Trap) -> bool:
        """Tell whether a call has been decided before, and is to be run now."""
        passing, told = self._passing.get(tid, (None, None))
        if passing != trap:
            return False
        del self._passing[tid]
        self.tell(tid, told)
        return True

    def carry_out(
        self, call: TrappedCall, stop: Trapped, trap: Trap, verdict: Verdict, *, held: bool = False
    ) -> int:
        """Answer a call, which was ``held`` or not, and let its thread go on; return what it got, ``-errno``
        for a failure, 0 where the kernel runs the call or the thread is gone.
        """
        match verdict:
            case Return(value, writes):
                failed = self._write(call, stop, writes)
                return self.skip(stop, value) if failed is None else failed
            case Fail(errno_):
                return self.skip(stop, -errno_)
            case GiveFd():
                return self._give(call, stop, trap, verdict)
            case Enter(fd) | OpenPath(fd):
                try:
                    return self._do_itself(stop, trap, verdict)
                finally:
                    os.close(fd)
            case Rewrite(argument, value):
                self._rewrite(stop, trap, argument, value)
            case _:
                self._continue(stop, trap, held=held)
        return 0

    def skip(self, stop: Trapped, value: int) -> int:
        """Let a thread go on with the result of a call that was not run, which is returned: one stop is all
        it takes.
        """
        thread = self._borrowed.get(stop.tid)
        if thread is None:
            registers.skip(stop.tid, self._layout, value)
            stop.resume(self._going)
        else:
            thread.give_result(value)
            self._return(stop, thread)
        return value

    def _continue(self, stop: Trapped, trap: Trap, *, held: bool) -> None:
        """Let the kernel run a call; a thread that has done something else has to make it once more.

        A signal that waits is delivered before that, and a call that was held for it would miss it.
        """
        thread = self._borrowed.get(stop.tid)
        if thread is None:
            self.resume(stop)
        elif held and self._layout.arch is Arch.X86_64 and signals.pending(stop.tid):
            thread.be_interrupted(trap.number)
            if (told := self.told(stop.tid)) is not None:
                told(-registers.ERESTARTSYS)
            ptrace(PTRACE_INTERRUPT, stop.tid)
            self._return(stop, thread)
        else:
            self._passing[stop.tid] = trap, self.told(stop.tid)
            thread.repeat(trap.number, trap.arguments)
            self._return(stop, thread)

    def resume(self, stop: Stopped, signal: int = 0) -> None:
        """Let a thread go on from a stop that does not end its call."""
        if stop.tid in self._rewritten or stop.tid in self._told:
            stop.resume(PTRACE_SYSCALL, signal)
        else:
            stop.resume(self._going, signal)

    def at_call(self, stop: AtCall) -> None:
        """Tell the result, and put the argument of a rewritten call back; the program expects the kernel to
        have kept it.

        Where its register has the result now (x0 of aarch64) it does not.
        """
        if (told := self.told(stop.tid)) is not None:
            told(stop.result())
        if stop.tid in self._rewritten:
            index, value = self._rewritten.pop(stop.tid)
            if self._layout.arguments[index] != self._layout.result:
                self._set_argument(stop.tid, index, value)
        stop.resume(self._going)

    def take(self, stop: Trapped, trap: Trap, fd: int) -> int:
        """Return a duplicate of the thread's descriptor, sent by itself; raise OSError, Elsewhere or Gone."""
        assert self._taker is not None
        try:
            thread = self._borrow(stop, trap)
            return self._taker.take(thread, self._giver.page(thread), fd)
        except Died as death:
            self._died(stop, death)
            raise Gone from death

    def _write(self, call: TrappedCall, stop: Trapped, writes: Iterable[tuple[int, bytes]]) -> int | None:
        """Put bytes into the program's memory; where that cannot be, fail the call and return what it got."""
        try:
            for address, data in writes:
                call.write(address, data)
        except OSError as error:
            return self.skip(stop, -(error.errno or errno.EFAULT))
        except Gone:
            return 0
        return None

    def _give(self, call: TrappedCall, stop: Trapped, trap: Trap, verdict: GiveFd) -> int:
        after: Callable[[int], None] = os.close
        try:
            if (failed := self._write(call, stop, verdict.writes)) is not None:
                return failed
            after = verdict.refused
            value = self._in_thread(
                stop, trap, lambda thread: self._giver.give(thread, verdict.fd, cloexec=verdict.cloexec)
            )
            if value is not None and value >= 0:
                after = os.close
            return value or 0
        finally:
            after(verdict.fd)

    def _do_itself(self, stop: Trapped, trap: Trap, verdict: Enter | OpenPath) -> int:
        """Have the thread do what nobody can do for it: it is the way of ``itself.py``, without a detour."""

        def run(thread: Borrowed) -> int:
            at = self._giver.give(thread, verdict.fd, cloexec=True)
            if isinstance(verdict, Enter):
                result = thread.call(_FCHDIR, at)
            else:
                page = self._giver.page(thread)
                process_vm_write(stop.tid, page, verdict.name + b"\0")
                result = thread.call(_OPEN_TREE, at, page, open_tree_flags(verdict))
            thread.call(_CLOSE, at)
            return result

        return self._in_thread(stop, trap, run) or 0

    def _in_thread(self, stop: Trapped, trap: Trap, run: Callable[[Borrowed], int]) -> int | None:
        """Answer a call with what ``run`` returns; return that, None if the thread has died."""
        try:
            value = run(self._borrow(stop, trap))
        except Died as death:
            self._died(stop, death)
            return None
        except OSError as error:
            if isinstance(error, ProcessLookupError):
                raise
            value = -(error.errno or errno.EMFILE)
        return self.skip(stop, value)

    def _rewrite(self, stop: Trapped, trap: Trap, argument: int, value: int | bytes) -> None:
        if isinstance(value, bytes):
            page = self._giver.known_page(stop.tid)
            if page is None:
                self._map_and_repeat(stop, trap)
                return
            process_vm_write(stop.tid, page, value)
            value = page
        self._rewritten[stop.tid] = argument, trap.arguments[argument]
        self._set_argument(stop.tid, argument, value)
        stop.resume(PTRACE_SYSCALL)

    def _map_and_repeat(self, stop: Trapped, trap: Trap) -> None:
        """Have the call trapped once more; it is rewritten then."""
        try:
            thread = self._borrow(stop, trap)
            self._giver.page(thread)
        except Died as death:
            self._died(stop, death)
        except OSError as error:
            if isinstance(error, ProcessLookupError):
                raise
            value = self.skip(stop, -(error.errno or errno.ENOMEM))
            if (told := self.told(stop.tid)) is not None:
                told(value)
        else:
            # the call that is trapped once more has its own
            self.told(stop.tid)
            thread.repeat(trap.number, trap.arguments)
            self._return(stop, thread)

    def _set_argument(self, tid: int, argument: int, value: int) -> None:
        words = registers.get(tid, self._layout)
        words[self._layout.arguments[argument]] = value
        registers.put(tid, self._layout, words)

    def _borrow(self, stop: Trapped, trap: Trap) -> Borrowed:
        """Have a thread do something else in place of its call; raise Died."""
        if (borrowed := self._borrowed.get(stop.tid)) is not None:
            borrowed.block()
            return borrowed
        borrowed = self._borrowed[stop.tid] = self._borrowing.borrow(stop, trap)
        return borrowed

    def _return(self, stop: Stopped, thread: Borrowed) -> None:
        """Let a thread go on that has done something else."""
        del self._borrowed[stop.tid]
        thread.__exit__(None, None, None)
        if thread.group_stopped:
            # it has run on, and must hear of the stop again
            ptrace(PTRACE_INTERRUPT, stop.tid)
        stop.resume(self._going)

    def _died(self, stop: Stopped, death: Died) -> None:
        self._ended(Ended(stop.tid, death.status))
