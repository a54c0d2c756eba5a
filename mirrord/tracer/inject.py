"""Make a stopped thread of the program run system calls of ours, and leave it as it was.

The thread is in a system call exit stop (launch), or on its way out of a call (entering a directory). A
``syscall`` instruction is found in its vDSO, which every
process has unless the kernel was booted with ``vdso=0``; then any executable mapping serves.
"""

import os
import signal
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from mirrord.errors import LaunchError
from mirrord.tracer import registers
from mirrord.tracer.registers import Layout
from mirrord.tracer.sys import PTRACE_SYSCALL, SYSCALL_STOP, pidfd_open, ptrace, wait_for_stop

_RED_ZONE: Final = 128
"""Bytes below the stack pointer that x86_64 code may use without moving it (System V ABI 3.2.2)."""


class Injector:
    """Run calls in a stopped thread; on leaving the ``with`` block its registers and its stack are as before.

    Signals that come meanwhile are kept back and sent again on leaving.
    """

    def __init__(self, tid: int, layout: Layout) -> None:
        self.tid: Final = tid
        self._layout: Final = layout
        self._before: Final = registers.get(tid, layout)
        self._memory: Final = os.open(f"/proc/{tid}/mem", os.O_RDWR | os.O_CLOEXEC)
        self._instruction: Final = self._find_instruction()
        self._scratch: tuple[int, bytes] | None = None
        self._signals: Final[list[int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scratch is not None:
            os.pwrite(self._memory, self._scratch[1], self._scratch[0])
        os.close(self._memory)
        registers.put(self.tid, self._layout, self._before)
        for number in self._signals:
            signal.pidfd_send_signal(fd := pidfd_open(self.tid), number)
            os.close(fd)

    def put(self, data: bytes) -> int:
        """Write ``data`` below the thread's stack, once; return its address, 16-byte aligned."""
        address = (self._before[self._layout.stack] - _RED_ZONE - len(data)) & ~15
        self._scratch = (address, os.pread(self._memory, len(data), address))
        os.pwrite(self._memory, data, address)
        return address

    def scratch_address(self, size: int) -> int:
        """Return where :meth:`put` will write ``size`` bytes."""
        return (self._before[self._layout.stack] - _RED_ZONE - size) & ~15

    def call(self, number: int, *arguments: int) -> int:
        """Run one system call in the thread; return its result, negative for an errno."""
        layout = self._layout
        changed = registers.with_call(
            layout, self._before, at=self._instruction, number=number, arguments=arguments
        )
        registers.put(self.tid, layout, changed)
        self._to_syscall_stop()
        self._to_syscall_stop()
        return registers.result(layout, registers.get(self.tid, layout))

    def _to_syscall_stop(self) -> None:
        while True:
            ptrace(PTRACE_SYSCALL, self.tid)
            status = wait_for_stop(self.tid)
            if status is None:
                raise LaunchError("the program was killed before its first instruction")
            stop = os.WSTOPSIG(status)
            if stop == SYSCALL_STOP:
                return
            if status >> 16 == 0:
                self._signals.append(stop)

    def _find_instruction(self) -> int:
        for start, end in self._executable_mappings():
            try:
                code = os.pread(self._memory, end - start, start)
            except OSError:
                # [vsyscall] is listed but lies outside the address space of the process: EIO
                continue
            at = code.find(self._layout.syscall_instruction)
            if at >= 0:
                return start + at
        raise LaunchError("the program has no system call instruction in its first mappings")

    def _executable_mappings(self) -> Iterator[tuple[int, int]]:
        with open(f"/proc/{self.tid}/maps", "rb") as maps:
            lines = [line.split() for line in maps]
        lines.sort(key=lambda fields: fields[-1] != b"[vdso]")
        for fields in lines:
            if b"x" in fields[1]:
                start, _, end = fields[0].partition(b"-")
                yield int(start, 16), int(end, 16)
