"""Which calls are repeated when a signal handler returns: those that were trapped and never received."""

import errno
import os
import struct
from pathlib import Path
from typing import Final, cast

import pytest
from mirrord_seccomp.notify import Notification
from mirrord_seccomp.rules import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import Arch, current_arch

from mirrord.syscall import CONTINUE, Call, Fault, Tid
from mirrord.tracer.interrupted import Interrupted

from .puppet import nr

pytestmark = pytest.mark.skipif(current_arch() is not Arch.X86_64, reason="calls are repeated on x86_64 only")

STACK: Final = 0x1000
CODE: Final = 0x8000
PATH: Final = 0x9000
EINTR: Final = 2**64 - errno.EINTR
REGISTERS: Final = (
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi"),
    *("rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip"),
)


class Frame:
    """A thread that returns from a handler: its registers, the code before them, and a path."""

    def __init__(self, code: bytes, **registers: int) -> None:
        self.tid = Tid(os.getpid())
        self._code = code.rjust(64, b"\x90")
        self.registers = dict.fromkeys(REGISTERS, 0) | {"rax": EINTR, "rip": CODE} | registers
        self.path = b"/dev/null"
        self.stack = STACK

    def read(self, address: int, size: int) -> bytes:
        if address == STACK + 40:
            return struct.pack("=17Q", *self.registers.values())
        if CODE - 64 <= address < CODE:
            at = address - (CODE - 64)
            return self._code[at : at + size]
        raise Fault

    def stack_pointer(self) -> int:
        return self.stack

    def string(self, address: int) -> bytes:
        if address != PATH:
            raise Fault
        return self.path

    def write(self, address: int, data: bytes) -> None:
        place = (address - STACK - 40) // 8
        self.registers[REGISTERS[place]] = int.from_bytes(data, "little")

    @property
    def repeated(self) -> int | None:
        """The number of the call that the thread will make again."""
        changed = self.registers["rip"] == CODE - 2
        return self.registers["rax"] if changed else None


def code_of(name: str) -> bytes:
    """Return the end of a C library's function that makes a call: mov $number, %eax; syscall."""
    return b"\xb8" + struct.pack("<I", nr(name)) + b"\x0f\x05"


@pytest.fixture
def returning() -> Interrupted:
    one = Interrupted()
    given = Test(4, Op.NE, 0, 64)
    rules = [Rule(name, Action.NOTIFY) for name in ("stat", "open", "openat", "recvmsg", "connect")]
    one.trapped = {nr(rule.syscall): (rule,) for rule in [*rules, Rule("recvfrom", Action.NOTIFY, given)]}
    return one


def returns(one: Interrupted, frame: Frame) -> int | None:
    assert one.returning(cast("Call", frame)) is CONTINUE
    return frame.repeated


def test_a_file_call_that_was_never_received_is_repeated(returning: Interrupted) -> None:
    assert returns(returning, Frame(code_of("stat"))) == nr("stat")


def test_the_number_may_be_loaded_into_the_whole_register(returning: Interrupted) -> None:
    code = b"\x48\xc7\xc0" + struct.pack("<I", nr("stat")) + b"\x0f\x05"
    assert returns(returning, Frame(code)) == nr("stat")


@pytest.mark.parametrize("rax", [0, 7, 2**64 - errno.ENOENT, 2**64 - 512])
def test_a_call_that_ended_otherwise_is_left(returning: Interrupted, rax: int) -> None:
    frame = Frame(code_of("stat"), rax=rax)
    assert returns(returning, frame) is None
    assert frame.registers["rax"] == rax


@pytest.mark.parametrize(
    "code",
    [
        b"\x90\x90\x90\x90",
        b"\x0f\x05",
        b"\x41\xb8\x04\x00\x00\x00\x0f\x05",  # into r8d
        b"\xb8\x04\x00\x00\x00\x90\x90",  # no call at all
    ],
)
def test_code_that_shows_no_number_is_left(returning: Interrupted, code: bytes) -> None:
    assert returns(returning, Frame(code)) is None


def test_a_call_that_is_not_trapped_is_left(returning: Interrupted) -> None:
    assert returns(returning, Frame(code_of("read"))) is None


def test_a_call_whose_arguments_the_filter_lets_pass_is_left(returning: Interrupted) -> None:
    """`recvfrom` without an address blocks in the kernel, whose own EINTR the program is to see."""
    assert returns(returning, Frame(code_of("recvfrom"), rdi=3)) is None
    assert returns(returning, Frame(code_of("recvfrom"), rdi=3, r8=0x5000)) == nr("recvfrom")


def test_a_socket_call_that_was_received_had_its_wait(returning: Interrupted) -> None:
    frame = Frame(code_of("connect"), rdi=3)
    notification = (1, frame.tid, 0, nr("connect"), 0, 0, 3, 0, 0, 0, 0, 0)
    returning.received[frame.tid] = cast("Notification", notification)
    assert returns(returning, frame) is None
    assert returns(returning, Frame(code_of("connect"), rdi=4)) == nr("connect")


def test_opening_a_fifo_can_wait_by_itself(returning: Interrupted, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    frame = Frame(code_of("openat"), rsi=PATH)
    frame.path = os.fsencode(fifo)
    assert returns(returning, frame) is None
    frame = Frame(code_of("open"), rdi=PATH)
    frame.path = os.fsencode(tmp_path)
    assert returns(returning, frame) == nr("open")


def test_a_frame_that_cannot_be_read_is_the_kernels(returning: Interrupted) -> None:
    frame = Frame(code_of("stat"))
    frame.stack = 8
    assert returns(returning, frame) is None


def test_without_a_descriptor_to_look_with_it_returns(
    returning: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This call cannot fail: after an errno the program would go on in the middle of nowhere."""

    def no_descriptor(_: Frame) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Frame, "stack_pointer", no_descriptor)
    assert returns(returning, Frame(code_of("stat"))) is None
