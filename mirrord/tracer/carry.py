"""Carry verdicts out in the registers and the memory of a traced thread."""

import errno
import os
from collections.abc import Callable
from typing import Final

from mirrord_seccomp.syscalls import current_arch

from mirrord.syscall import Fail, GiveFd, Gone, Return, Verdict
from mirrord.tracer import registers
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.give import Giver
from mirrord.tracer.inject import Borrowed, Died
from mirrord.tracer.registers import LAYOUTS
from mirrord.tracer.rewrite import Rewrite
from mirrord.tracer.stops import PTRACE_SYSCALL, AtCall, Ended, Stopped, Trap, Trapped, decode
from mirrord.tracer.sys import PTRACE_INTERRUPT, WALL, process_vm_write, ptrace


class Carrier:
    """Does to stopped threads what was decided about their calls.

    Requests raise ProcessLookupError when the thread was killed meanwhile.
    """

    def __init__(self, ended: Callable[[Ended], None]) -> None:
        """``ended`` is told of a thread that ends while it is waited for here."""
        self._ended: Final = ended
        self._layout: Final = LAYOUTS[current_arch()]
        self._giver: Final = Giver()
        self._rewritten: Final[dict[int, tuple[int, int]]] = {}
        """Which argument of a thread's present call is to be put back, and what it was."""

    def forget(self, tid: int) -> None:
        """Take note that a thread has ended, or executed another program."""
        self._giver.forget(tid)
        self._rewritten.pop(tid, None)

    def carry_out(self, call: TrappedCall, stop: Trapped, trap: Trap, verdict: Verdict) -> None:
        """Answer a call, and let its thread go on."""
        match verdict:
            case Return(value, writes):
                try:
                    for address, data in writes:
                        call.write(address, data)
                except OSError as error:
                    value = -(error.errno or errno.EFAULT)
                except Gone:
                    return
                self.skip(stop, value)
            case Fail(number):
                self.skip(stop, -number)
            case GiveFd(fd, cloexec):
                try:
                    self._give(stop, trap, fd, cloexec=cloexec)
                finally:
                    os.close(fd)
            case Rewrite(argument, value):
                self._rewrite(stop, trap, argument, value)
            case _:
                stop.resume()

    def skip(self, stop: Trapped, value: int) -> None:
        """Let a thread go on with the result of a call that was not run: one stop is all it takes."""
        registers.skip(stop.tid, self._layout, value)
        stop.resume()

    def resume(self, stop: Stopped, signal: int = 0) -> None:
        """Let a thread go on from a stop that does not end its call."""
        if stop.tid in self._rewritten:
            stop.resume(PTRACE_SYSCALL, signal)
        else:
            stop.resume(signal=signal)

    def at_call(self, stop: AtCall) -> None:
        """Put the argument of a rewritten call back; the program expects the kernel to have kept it.

        Where its register has the result now (x0 of aarch64) it does not.
        """
        if stop.tid in self._rewritten:
            index, value = self._rewritten.pop(stop.tid)
            if self._layout.arguments[index] != self._layout.result:
                self._set_argument(stop.tid, index, value)
        stop.resume()

    def _give(self, stop: Trapped, trap: Trap, fd: int, *, cloexec: bool) -> None:
        def give(thread: Borrowed) -> None:
            try:
                thread.give_result(self._giver.give(thread, fd, cloexec=cloexec))
            except OSError as error:
                thread.give_result(-(error.errno or errno.EMFILE))

        self._borrow(stop, trap, give)

    def _rewrite(self, stop: Trapped, trap: Trap, argument: int, value: int | bytes) -> None:
        if isinstance(value, bytes):
            page = self._giver.known_page(stop.tid)
            if page is None:
                # trapped once more, it is rewritten then
                self._borrow(stop, trap, lambda thread: self._map_and_repeat(thread, trap))
                return
            process_vm_write(stop.tid, page, value)
            value = page
        self._rewritten[stop.tid] = argument, trap.arguments[argument]
        self._set_argument(stop.tid, argument, value)
        stop.resume(PTRACE_SYSCALL)

    def _map_and_repeat(self, thread: Borrowed, trap: Trap) -> None:
        try:
            self._giver.page(thread)
        except OSError as error:
            thread.give_result(-(error.errno or errno.ENOMEM))
        else:
            thread.repeat(trap.number, trap.arguments)

    def _set_argument(self, tid: int, argument: int, value: int) -> None:
        words = registers.get(tid, self._layout)
        words[self._layout.arguments[argument]] = value
        registers.put(tid, self._layout, words)

    def _borrow(self, stop: Trapped, trap: Trap, act: Callable[[Borrowed], None]) -> None:
        """Have a thread do something else in place of its call.

        This waits for that thread alone, which only makes calls that do not wait themselves.
        """
        tid, layout = stop.tid, self._layout
        registers.skip(tid, layout, 0)
        stop.resume(PTRACE_SYSCALL)
        _, status = os.waitpid(tid, WALL)
        now = decode(tid, status)
        if isinstance(now, Ended):
            self._ended(now)
            return
        try:
            with Borrowed(tid, layout, trap.instruction - len(layout.syscall_instruction)) as thread:
                act(thread)
        except Died as death:
            self._ended(Ended(tid, death.status))
            return
        if thread.group_stopped:
            # it has run on, and must hear of the stop again
            ptrace(PTRACE_INTERRUPT, tid)
        stop.resume()
