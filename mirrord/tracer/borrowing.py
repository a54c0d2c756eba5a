"""Have a thread make calls of ours in place of its own, with or without a way back should we be killed."""

import ctypes
import os
import struct
from typing import Final

from mirrord_seccomp.syscalls import Arch, current_arch, number

from mirrord.tracer import registers
from mirrord.tracer.borrowed import Borrowed, Died, signal_mask
from mirrord.tracer.registers import LAYOUTS, X86_64
from mirrord.tracer.stops import PTRACE_SYSCALL, Ended, Trap, Trapped, decode
from mirrord.tracer.sys import PTRACE_GETREGSET, WALL, IoVec, ptrace, thread_group


class Borrowing:
    """The way of threads that end with their tracer."""

    def __init__(self) -> None:
        self._layout: Final = LAYOUTS[current_arch()]

    def forget(self, tid: int) -> None:
        """Take note that a thread has ended, or executed another program."""

    def borrow(self, stop: Trapped, trap: Trap) -> Borrowed:
        """Bring a thread to where its call has ended, without having run; raise Died.

        This waits for that thread alone, which only makes calls that do not wait themselves.
        """
        registers.skip(stop.tid, self._layout, 0)
        self._to_the_end(stop)
        own = trap.instruction - len(self._layout.syscall_instruction)
        return Borrowed(stop.tid, self._layout, own).__enter__()

    def _to_the_end(self, stop: Trapped) -> None:
        stop.resume(PTRACE_SYSCALL)
        _, status = os.waitpid(stop.tid, WALL)
        if isinstance(decode(stop.tid, status), Ended):
            raise Died(status)


_MMAP: Final = number("mmap", current_arch())
_SIZE: Final = 16384
_PROT_READ_EXEC: Final = 5
_MAP_PRIVATE_ANONYMOUS: Final = 0x22
_CODE: Final = bytes.fromhex("0f054889dcb80f0000000f05")
"""``syscall; mov %rbx,%rsp; mov $15,%eax; syscall``: a call of ours, and then rt_sigreturn."""
_BACK: Final = 2
"""Where the second instruction is."""
_AT_STATE: Final = 64
_XSTATE: Final = 2696
"""Bytes of the registers that every thread may use: all but AMX, whose place is behind (CPUID 0xD)."""
_AMX: Final = 3 << 17
_AT_CONTEXT: Final = _AT_STATE + 4096
_NT_X86_XSTATE: Final = 0x202
_AT_SOFTWARE: Final = 464
_SOFTWARE: Final = struct.Struct("=IIQI28x")
"""``struct _fpx_sw_bytes``: the first magic number, size with the second, features, size."""
_MAGIC_1: Final = 0x46505853
_MAGIC_2: Final = struct.pack("=I", 0x46505845)
_CONTEXT: Final = struct.Struct("=QQQi4xQ18Q4H4QQ64xQ")
"""``struct ucontext`` of x86_64: flags, link, alternate stack, ``struct sigcontext_64``, signal mask."""
_FLAGS: Final = 0x7
"""UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS."""
_NO_STACK: Final = 0x7777
"""Flags of an alternate stack that there cannot be: the thread keeps the one that it has."""
_RBX, _CS, _SS, _EFLAGS, _FS, _GS = 5, 17, 20, 18, 25, 26
_IN_CONTEXT: Final = (9, 8, 7, 6, 3, 2, 1, 0, 14, 13, 4, 5, 12, 10, 11, 19, 16, _EFLAGS)
"""Where user_regs_struct has what the context begins with: r8 to r15, di si bp bx dx ax cx sp ip flags."""
_RAX, _RIP, _ORIG_RAX = 10, 16, 15
_NO_CALL: Final = 2**64 - 1


class GuardedBorrowing(Borrowing):
    """The way of threads that outlive their tracer, on x86_64.

    Each process has a page of code. A thread that is borrowed runs our calls there, and what comes behind
    them is a return from a signal (rt_sigreturn(2)), to the state in which it was about to make its own call:
    registers, floating point, and the mask of its signals. It comes to that only when nobody stops it after
    our call: when its tracer has been killed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pages: Final[dict[int, int]] = {}
        """The page of each process, 0 where it could have none."""
        self._processes: Final[dict[int, int]] = {}
        self._state: Final = ctypes.create_string_buffer(_SIZE)

    def forget(self, tid: int) -> None:
        """Take note that a thread has ended, or executed another program."""
        self._processes.pop(tid, None)
        self._pages.pop(tid, None)

    def borrow(self, stop: Trapped, trap: Trap) -> Borrowed:
        """Bring a thread to where its call has ended; raise Died."""
        page = self._page(stop.tid)
        if page is None:
            borrowed = super().borrow(stop, trap)
            self._map(borrowed)
            return borrowed
        if page == 0:
            return super().borrow(stop, trap)
        before = registers.get(stop.tid, X86_64)
        context = page + _AT_CONTEXT
        self._write(stop.tid, page, before, trap)
        away = list(before)
        away[_RIP], away[_RBX], away[_ORIG_RAX] = page + _BACK, context, _NO_CALL
        registers.put(stop.tid, X86_64, away)
        self._to_the_end(stop)
        own = trap.instruction - len(X86_64.syscall_instruction)
        return Borrowed(
            stop.tid, X86_64, own, before=registers.with_result(X86_64, before, 0), away=(page, away)
        ).__enter__()

    def _page(self, tid: int) -> int | None:
        process = self._processes.get(tid)
        if process is None:
            process = self._processes[tid] = thread_group(tid)
        return self._pages.get(process)

    def _map(self, borrowed: Borrowed) -> None:
        assert _MMAP is not None
        page = borrowed.call(_MMAP, 0, _SIZE, _PROT_READ_EXEC, _MAP_PRIVATE_ANONYMOUS, -1, 0)
        self._pages[self._processes[borrowed.tid]] = max(page, 0)
        if page > 0:
            _put(borrowed.tid, page, _CODE)

    def _write(self, tid: int, page: int, before: list[int], trap: Trap) -> None:
        """Write down the thread's state as it is before its call."""
        vector = IoVec(ctypes.addressof(self._state), len(self._state))
        ptrace(PTRACE_GETREGSET, tid, _NT_X86_XSTATE, ctypes.addressof(vector))
        size = min(vector.length, _XSTATE)
        state = bytearray(self._state.raw[:size]) + _MAGIC_2
        (features,) = struct.unpack_from("=Q", state, _AT_SOFTWARE)
        _SOFTWARE.pack_into(state, _AT_SOFTWARE, _MAGIC_1, size + 4, features & ~_AMX, size)
        again = list(before)
        again[_RAX], again[_RIP] = trap.number, trap.instruction - len(X86_64.syscall_instruction)
        words = (again[at] for at in _IN_CONTEXT)
        segments = (again[_CS], again[_GS], again[_FS], again[_SS])
        context = _CONTEXT.pack(
            *(_FLAGS, 0, 0, _NO_STACK, 0),
            *words,
            *segments,
            *(0, 0, 0, 0, page + _AT_STATE),
            signal_mask(tid),
        )
        _put(tid, page + _AT_STATE, bytes(state).ljust(_AT_CONTEXT - _AT_STATE, b"\0") + context)


def borrowing(*, guarded: bool) -> Borrowing:
    """Return the way for this machine."""
    return GuardedBorrowing() if guarded and current_arch() is Arch.X86_64 else Borrowing()


def _put(tid: int, address: int, data: bytes) -> None:
    """Write to what the thread itself may not write to; a tracer may (proc_pid_mem(5))."""
    memory = os.open(f"/proc/{tid}/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(memory, data, address)
    finally:
        os.close(memory)
