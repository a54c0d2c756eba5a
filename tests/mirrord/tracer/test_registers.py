import ctypes
import os
import signal
import struct
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_seccomp.syscalls import Arch, current_arch

from mirrord.tracer import registers
from mirrord.tracer.registers import (
    AARCH64,
    LAYOUTS,
    X86_64,
    Layout,
    result,
    skip,
    with_call,
    with_interruption,
    with_result,
)
from mirrord.tracer.sys import (
    PTRACE_DETACH,
    PTRACE_GETREGSET,
    PTRACE_POKEUSER,
    PTRACE_SEIZE,
    PTRACE_SETREGSET,
    IoVec,
    ptrace,
)

from .puppet import puppet

_X86_64: Final = """
    r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base
    ds es fs gs
"""
X86_64_NAMES: Final = _X86_64.split()
AARCH64_NAMES: Final = [*(f"x{index}" for index in range(31)), "sp", "pc", "pstate"]
words = st.integers(0, 2**64 - 1)


def named(layout: Layout, values: list[int]) -> dict[str, int]:
    names = X86_64_NAMES if layout.arch is Arch.X86_64 else AARCH64_NAMES
    return dict(zip(names, values, strict=True))


def test_the_layouts_are_the_kernels() -> None:
    x86_64, aarch64 = X86_64_NAMES, AARCH64_NAMES
    assert (X86_64.words, AARCH64.words) == (len(x86_64), len(aarch64))
    assert [x86_64[index] for index in X86_64.arguments] == ["rdi", "rsi", "rdx", "r10", "r8", "r9"]
    assert [aarch64[index] for index in AARCH64.arguments] == ["x0", "x1", "x2", "x3", "x4", "x5"]
    for layout, names, expected in (
        (X86_64, x86_64, ("rax", "rax", "rip", "rsp")),
        (AARCH64, aarch64, ("x8", "x0", "pc", "sp")),
    ):
        indices = (layout.number, layout.result, layout.instruction, layout.stack)
        assert tuple(names[index] for index in indices) == expected
    assert X86_64.syscall_instruction == bytes.fromhex("0f05")
    assert AARCH64.syscall_instruction == struct.pack("<I", 0xD4000001), "svc #0"
    assert LAYOUTS == {Arch.X86_64: X86_64, Arch.AARCH64: AARCH64}


def test_a_call_on_x86_64() -> None:
    changed = named(X86_64, with_call(X86_64, [7] * 27, at=0x1000, number=157, arguments=(38, 1, -1)))
    expected = dict.fromkeys(X86_64_NAMES, 7)
    expected |= {"rax": 157, "rip": 0x1000, "orig_rax": 2**64 - 1}
    expected |= {"rdi": 38, "rsi": 1, "rdx": 2**64 - 1, "r10": 0, "r8": 0, "r9": 0}
    assert changed == expected


def test_a_call_on_aarch64() -> None:
    changed = named(AARCH64, with_call(AARCH64, [7] * 34, at=0x1000, number=167, arguments=(38, 1, -1)))
    expected = dict.fromkeys(AARCH64_NAMES, 7)
    expected |= {"x8": 167, "pc": 0x1000}
    expected |= {"x0": 38, "x1": 1, "x2": 2**64 - 1, "x3": 0, "x4": 0, "x5": 0}
    assert changed == expected


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.arch.name)
@settings(max_examples=30, deadline=None)
@given(values=st.data())
def test_nothing_else_is_changed(layout: Layout, values: st.DataObject) -> None:
    before = values.draw(st.lists(words, min_size=layout.words, max_size=layout.words))
    given_ = values.draw(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=6))
    original = list(before)
    after = with_call(layout, before, at=4096, number=1, arguments=tuple(given_))
    assert before == original
    touched = {
        *layout.arguments,
        layout.number,
        layout.instruction,
        15 if layout is X86_64 else layout.number,
    }
    assert all(after[index] == before[index] for index in range(layout.words) if index not in touched)
    assert all(0 <= word < 2**64 for word in after)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.arch.name)
@pytest.mark.parametrize("value", [0, 5, 2**63 - 1, -1, -14, -4095])
def test_a_result_is_signed(layout: Layout, value: int) -> None:
    values = [0] * layout.words
    values[layout.result] = value % 2**64
    assert result(layout, values) == value


def test_registers_of_a_stopped_process_are_read_and_put() -> None:
    layout = LAYOUTS[current_arch()]
    with puppet() as program:
        program("None")
        ptrace(PTRACE_SEIZE, program.pid)
        os.kill(program.pid, signal.SIGSTOP)
        os.waitpid(program.pid, 0)
        before = registers.get(program.pid, layout)
        assert before[layout.stack] in stack_of(program.pid)
        changed = list(before)
        free = {Arch.X86_64: X86_64_NAMES.index("rbx"), Arch.AARCH64: 27}[layout.arch]
        changed[free] = 0x1234_5678_9ABC_DEF0
        registers.put(program.pid, layout, changed)
        assert registers.get(program.pid, layout) == changed
        registers.put(program.pid, layout, before)
        ptrace(PTRACE_DETACH, program.pid, 0, 0)
        os.kill(program.pid, signal.SIGCONT)
        assert program("6 * 7") == 42, "it goes on as if nothing had been"


def stack_of(pid: int) -> range:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.endswith("[stack]"):
            start, end = (int(text, 16) for text in line.split()[0].split("-"))
            return range(start, end)
    raise AssertionError("no stack")


def test_no_stopped_process_is_an_oserror() -> None:
    with pytest.raises(OSError):
        registers.get(os.getpid(), X86_64)


class Kernel:
    """Notes what is asked of ptrace, and has the registers of one stopped thread."""

    def __init__(self, layout: Layout) -> None:
        self.asked: list[tuple[int, int, bytes]] = []
        self.registers = struct.pack(f"={layout.words}Q", *range(layout.words))

    def __call__(self, request: int, tid: int, address: int = 0, data: int = 0) -> None:
        assert tid == 4711
        if request == PTRACE_POKEUSER:
            self.asked.append((request, address, struct.pack("=Q", data)))
            return
        vector = IoVec.from_address(data)
        if request == PTRACE_GETREGSET:
            ctypes.memmove(vector.base, self.registers, vector.length)
        else:
            self.asked.append((request, address, ctypes.string_at(vector.base, vector.length)))


@pytest.fixture
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(request.param)
    monkeypatch.setattr(registers, "ptrace", made)
    monkeypatch.setattr(registers, "quick_ptrace", made)
    return made


@pytest.mark.parametrize("kernel", [X86_64], indirect=True)
def test_a_call_is_skipped_on_x86_64(kernel: Kernel) -> None:
    skip(4711, X86_64, -2)
    at = {name: 8 * X86_64_NAMES.index(name) for name in ("orig_rax", "rax")}
    minus_one, minus_two = struct.pack("=q", -1), struct.pack("=q", -2)
    assert kernel.asked == [
        (PTRACE_POKEUSER, at["rax"], minus_two),
        (PTRACE_POKEUSER, at["orig_rax"], minus_one),
    ]


@pytest.mark.parametrize("kernel", [AARCH64], indirect=True)
def test_a_call_is_skipped_on_aarch64(kernel: Kernel) -> None:
    """The number has a register set of its own there, NT_ARM_SYSTEM_CALL (0x404), of an int."""
    skip(4711, AARCH64, -2)
    changed = [2**64 - 2, *range(1, AARCH64.words)]
    assert kernel.asked == [
        (PTRACE_SETREGSET, 0x404, struct.pack("=i", -1)),
        (PTRACE_SETREGSET, 1, struct.pack("=34Q", *changed)),
    ]


def test_a_result_is_given_and_no_call_restarted() -> None:
    x86_64 = named(X86_64, with_result(X86_64, [7] * 27, -9))
    assert x86_64 == dict.fromkeys(X86_64_NAMES, 7) | {"rax": 2**64 - 9, "orig_rax": 2**64 - 1}
    aarch64 = named(AARCH64, with_result(AARCH64, [7] * 34, 9))
    assert aarch64 == dict.fromkeys(AARCH64_NAMES, 7) | {"x0": 9}


def test_an_interrupted_call_is_the_kernels_to_repeat() -> None:
    changed = named(X86_64, with_interruption([7] * 27, 42))
    assert changed == dict.fromkeys(X86_64_NAMES, 7) | {"rax": 2**64 - 512, "orig_rax": 42}
