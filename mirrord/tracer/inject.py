"""Make a stopped thread of the program run system calls of ours, and leave it as it was."""

import ctypes
import os
import signal
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from mirrord.errors import LaunchError
from mirrord.tracer import registers
from mirrord.tracer.registers import Layout
from mirrord.tracer.sys import (
    PTRACE_EVENT_STOP,
    PTRACE_GETSIGMASK,
    PTRACE_SETSIGMASK,
    PTRACE_SYSCALL,
    SYSCALL_STOP,
    WALL,
    ptrace,
    wait_for_stop,
)

_RED_ZONE: Final = 128
"""Bytes below the stack pointer that x86_64 code may use without moving it (System V ABI 3.2.2)."""
_SIGNAL_SET: Final = 8
"""``sizeof(sigset_t)`` of the kernel."""
_ALL: Final = 2**64 - 1


class Died(Exception):
    """Raised when the thread was killed meanwhile; ``status`` is its last wait status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the thread ended with the status {status:#x}")
        self.status: Final = status


class Borrowed:
    """Run calls in a thread that is in a system call exit stop; on leaving the ``with`` block its registers
    are as before.

    All signals are blocked meanwhile. SIGSTOP, which cannot be, is sent again on leaving.
    """

    def __init__(self, tid: int, layout: Layout, instruction: int) -> None:
        """``instruction`` is where a ``syscall`` instruction lies."""
        self.tid: Final = tid
        self.group_stopped = False
        """Whether its process was stopped meanwhile, which it has not obeyed yet."""
        self._layout: Final = layout
        self._before = registers.get(tid, layout)
        self._instruction: Final = instruction
        self._mask: Final = ctypes.c_uint64()
        self._signals: Final[list[int]] = []
        ptrace(PTRACE_GETSIGMASK, tid, _SIGNAL_SET, ctypes.addressof(self._mask))

    def __enter__(self) -> Self:
        self.block()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Died):
            return
        registers.put(self.tid, self._layout, self._before)
        self.unblock()
        for number in self._signals:
            os.kill(self.tid, number)

    def call(self, number: int, *arguments: int) -> int:
        """Run one system call in the thread; return its result, negative for an errno. Raise Died."""
        layout = self._layout
        changed = registers.with_call(
            layout, self._before, at=self._instruction, number=number, arguments=arguments
        )
        registers.put(self.tid, layout, changed)
        self._to_syscall_stop()
        self._to_syscall_stop()
        return registers.result(layout, registers.get(self.tid, layout))

    def give_result(self, value: int) -> None:
        """Make ``value`` the result of the call that the thread was in."""
        self._before = registers.with_result(self._layout, self._before, value)

    def repeat(self, number: int, arguments: tuple[int, ...]) -> None:
        """Have the thread make its own call once more."""
        self._before = registers.with_call(
            self._layout, self._before, at=self._instruction, number=number, arguments=arguments
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
        """Wait until the thread stops; return its status, raise Died."""
        _, status = os.waitpid(self.tid, WALL)
        if not os.WIFSTOPPED(status):
            raise Died(status)
        return status

    def _to_syscall_stop(self) -> None:
        """Run on to the start or end of a call; the filter's own stop lies between."""
        while True:
            ptrace(PTRACE_SYSCALL, self.tid)
            status = self._next_stop()
            stop, event = os.WSTOPSIG(status), status >> 16
            if stop == SYSCALL_STOP:
                return
            if event == 0:
                self._signals.append(stop)
            elif event == PTRACE_EVENT_STOP and stop != signal.SIGTRAP:
                self.group_stopped = True


class Injector(Borrowed):
    """The same for a thread that is traced for this alone, in a system call exit stop (launch), or on its way
    out of a call (entering a directory); on leaving its stack is as before, too.

    A ``syscall`` instruction is found in its vDSO, which every process has unless the kernel was booted with
    ``vdso=0``; then any executable mapping serves.
    """

    def __init__(self, tid: int, layout: Layout) -> None:
        self._memory: Final = os.open(f"/proc/{tid}/mem", os.O_RDWR | os.O_CLOEXEC)
        self._scratch: tuple[int, bytes] | None = None
        super().__init__(tid, layout, self._find_instruction(tid, layout))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch is not None and not isinstance(error, Died):
            os.pwrite(self._memory, self._scratch[1], self._scratch[0])
        os.close(self._memory)
        super().__exit__(kind, error, trace)
        if isinstance(error, Died):
            raise LaunchError("the program was killed before its first instruction") from error

    def _next_stop(self) -> int:
        status = wait_for_stop(self.tid)
        if status is None:
            # whoever waits for the process gets its status
            raise Died(0)
        return status

    def put(self, data: bytes) -> int:
        """Write ``data`` below the thread's stack, once; return its address, 16-byte aligned."""
        address = self.scratch_address(len(data))
        self._scratch = (address, os.pread(self._memory, len(data), address))
        os.pwrite(self._memory, data, address)
        return address

    def scratch_address(self, size: int) -> int:
        """Return where :meth:`put` will write ``size`` bytes."""
        return (self._before[self._layout.stack] - _RED_ZONE - size) & ~15

    def _find_instruction(self, tid: int, layout: Layout) -> int:
        for start, end in _executable_mappings(tid):
            try:
                code = os.pread(self._memory, end - start, start)
            except OSError:
                # [vsyscall] is listed but lies outside the address space of the process: EIO
                continue
            at = code.find(layout.syscall_instruction)
            if at >= 0:
                return start + at
        raise LaunchError("the program has no system call instruction in its first mappings")


def _executable_mappings(tid: int) -> Iterator[tuple[int, int]]:
    with open(f"/proc/{tid}/maps", "rb") as maps:
        lines = [line.split() for line in maps]
    lines.sort(key=lambda fields: fields[-1] != b"[vdso]")
    for fields in lines:
        if b"x" in fields[1]:
            start, _, end = fields[0].partition(b"-")
            yield int(start, 16), int(end, 16)
