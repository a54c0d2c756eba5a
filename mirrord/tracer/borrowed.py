"""Make a thread that is traced for its whole life run calls of ours in place of its own."""

import ctypes
import os
import signal
from types import TracebackType
from typing import Final, Self

from mirrord.tracer import registers
from mirrord.tracer.inject import Calling
from mirrord.tracer.registers import Layout
from mirrord.tracer.sys import PTRACE_EVENT_STOP, PTRACE_GETSIGMASK, PTRACE_SETSIGMASK, WALL, ptrace

_SIGNAL_SET: Final = 8
"""``sizeof(sigset_t)`` of the kernel."""
_ALL: Final = 2**64 - 1


class Died(Exception):
    """Raised when the thread was killed meanwhile; ``status`` is its last wait status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the thread ended with the status {status:#x}")
        self.status: Final = status


class Borrowed(Calling):
    """Run calls in a thread that is in a system call exit stop; on leaving the ``with`` block its registers
    are as before.

    All signals are blocked meanwhile but SIGSTOP, which stops the rest of the process at once: kept back, it
    would stop it after a SIGCONT that came later. Calls raise Died.
    """

    def __init__(
        self,
        tid: int,
        layout: Layout,
        instruction: int,
        *,
        before: list[int] | None = None,
        away: tuple[int, list[int]] | None = None,
    ) -> None:
        """``instruction`` is where the thread's own ``syscall`` instruction lies, ``before`` what its
        registers are to be after, and ``away`` where our calls are made, and with which registers.
        """
        super().__init__(tid, layout, instruction if away is None else away[0])
        self._own: Final = instruction
        if before is not None:
            self._before = before
        if away is not None:
            self._base = away[1]
        self.group_stopped = False
        """Whether its process was stopped meanwhile, which it has not obeyed yet."""
        self._mask: Final = ctypes.c_uint64(signal_mask(tid))

    def __enter__(self) -> Self:
        self.block()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Died):
            return
        # in this order: a thread that is away comes back by itself if we are killed between the two
        self.unblock()
        registers.put(self.tid, self._layout, self._before)

    def give_result(self, value: int) -> None:
        """Make ``value`` the result of the call that the thread was in."""
        self._before = registers.with_result(self._layout, self._before, value)

    def repeat(self, number: int, arguments: tuple[int, ...]) -> None:
        """Have the thread make its own call once more."""
        self._before = registers.with_call(
            self._layout, self._before, at=self._own, number=number, arguments=arguments
        )

    def be_interrupted(self, number: int) -> None:
        """Make the thread's own call one that a signal has interrupted; x86_64 only."""
        self._before = registers.with_interruption(self._before, number)

    def block(self) -> None:
        """Keep signals back while the thread makes calls of ours."""
        self._block(ctypes.c_uint64(_ALL))

    def unblock(self) -> None:
        """Give the thread its own signal mask."""
        self._block(self._mask)

    def _block(self, mask: ctypes.c_uint64) -> None:
        ptrace(PTRACE_SETSIGMASK, self.tid, _SIGNAL_SET, ctypes.addressof(mask))

    def _next_stop(self) -> int:
        _, status = os.waitpid(self.tid, WALL)
        if not os.WIFSTOPPED(status):
            raise Died(status)
        return status

    def _came_between(self, stop: int, event: int) -> int:
        if event == PTRACE_EVENT_STOP and stop != signal.SIGTRAP:
            self.group_stopped = True
        return stop if event == 0 else 0


def signal_mask(tid: int) -> int:
    """Return the signals that a stopped thread has blocked, as the kernel's ``sigset_t``."""
    mask = ctypes.c_uint64()
    ptrace(PTRACE_GETSIGMASK, tid, _SIGNAL_SET, ctypes.addressof(mask))
    return mask.value
