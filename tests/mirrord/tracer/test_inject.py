import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mirrord_seccomp.syscalls import current_arch

from mirrord.errors import LaunchError
from mirrord.tracer import inject, registers
from mirrord.tracer.inject import Injector
from mirrord.tracer.launch import _run_to_exec, _seize
from mirrord.tracer.registers import LAYOUTS
from mirrord.tracer.sys import PTRACE_DETACH, ptrace

from .puppet import nr, parked

LAYOUT = LAYOUTS[current_arch()]


@contextmanager
def stopped(*argv: bytes) -> Iterator[int]:
    """A program that is stopped before its first instruction; killed and reaped in the end."""
    process = parked()
    _seize(process.pid)
    process.execute(argv or (b"/bin/sh", b"-c", b"exit 7"), os.environb)
    _run_to_exec(process, b"/bin/sh")
    os.close(process.report)
    try:
        yield process.pid
    finally:
        try:
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            # the test has reaped it
            pass


def ended(pid: int) -> int:
    ptrace(PTRACE_DETACH, pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_call_runs_in_the_program() -> None:
    with stopped() as pid:
        with Injector(pid, LAYOUT) as injector:
            assert injector.call(nr("getpid")) == pid
            assert injector.call(nr("close"), 99) == -errno.EBADF
            assert injector.call(nr("getpid")) == pid
        assert ended(pid) == 7


def test_registers_and_stack_are_as_before() -> None:
    with stopped() as pid:
        before = registers.get(pid, LAYOUT)
        below = range(before[LAYOUT.stack] - 1024, before[LAYOUT.stack])
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
        os.pwrite(memory, bytes(range(256)) * 4, below.start)
        with Injector(pid, LAYOUT) as injector:
            address = injector.put(b"/nowhere/at/all\0")
            assert injector.call(nr("chdir"), address) == -errno.ENOENT
            assert os.pread(memory, 16, address) == b"/nowhere/at/all\0"
        assert registers.get(pid, LAYOUT) == before
        assert os.pread(memory, len(below), below.start) == bytes(range(256)) * 4
        os.close(memory)
        assert ended(pid) == 7


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4096, 30_000])
def test_where_data_is_put(size: int) -> None:
    with stopped() as pid, Injector(pid, LAYOUT) as injector:
        stack = registers.get(pid, LAYOUT)[LAYOUT.stack]
        address = injector.scratch_address(size)
        assert injector.put(b"x" * size) == address
        assert address % 16 == 0
        assert address + size <= stack - 128, "the red zone is left alone"


def test_a_signal_meanwhile_is_kept_back_and_comes_after() -> None:
    with stopped() as pid:
        with Injector(pid, LAYOUT) as injector:
            os.kill(pid, signal.SIGUSR1)
            assert injector.call(nr("getpid")) == pid
        assert ended(pid) == -signal.SIGUSR1


def test_an_error_inside_leaves_the_program_as_before() -> None:
    def fail(pid: int) -> None:
        with Injector(pid, LAYOUT) as injector:
            injector.call(nr("getpid"))
            raise ZeroDivisionError

    with stopped() as pid:
        before = registers.get(pid, LAYOUT)
        with pytest.raises(ZeroDivisionError):
            fail(pid)
        assert registers.get(pid, LAYOUT) == before
        assert ended(pid) == 7


def test_a_program_without_a_call_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inject, "_executable_mappings", lambda tid: iter(()))
    with stopped() as pid, pytest.raises(LaunchError, match="no system call instruction"):
        Injector(pid, LAYOUT)


def test_a_program_that_is_killed_meanwhile() -> None:
    def inject_and_kill(pid: int) -> None:
        with Injector(pid, LAYOUT) as injector:
            os.kill(pid, signal.SIGKILL)
            injector.call(nr("getpid"))

    with stopped() as pid, pytest.raises((LaunchError, ProcessLookupError)):
        inject_and_kill(pid)
