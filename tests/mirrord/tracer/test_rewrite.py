import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_seccomp.rules import Action

from mirrord.syscall import CONTINUE, Call, Fault, Tid
from mirrord.tracer.rewrite import Rewrite, clone, clone3, rows

UNTRACED = 0x00800000
SIGCHLD = 17
FIRST = Tid(1)


@dataclass
class Memory:
    """A call whose memory is this."""

    args: tuple[int, int, int, int, int, int]
    content: bytes = b""
    tid: Tid = FIRST
    watched: bool = True
    stand_ins: list[tuple[int, bytes]] = field(default_factory=list)

    def here(self, address: int, data: bytes) -> None:
        self.stand_ins.append((address, data))

    def read(self, address: int, size: int) -> bytes:
        if address != 0x1000 or size > len(self.content):
            raise Fault
        return self.content[:size]


def call(*args: int, content: bytes = b"") -> Call:
    return Memory((*args, *[0] * (6 - len(args))), content)  # type: ignore[arg-type,return-value]


@given(st.integers(0, 2**32 - 1))
def test_the_flag_alone_is_taken_from_clone(flags: int) -> None:
    verdict = clone(call(flags | UNTRACED))
    assert verdict == Rewrite(0, (flags | UNTRACED) - UNTRACED)


def arguments(flags: int, more: bytes = b"") -> bytes:
    return struct.pack("=8Q", flags, 0, 0, 0, SIGCHLD, 0, 0, 0) + more


@pytest.mark.parametrize("more", [b"", bytes(16), b"\x01" * 24])
def test_the_flag_alone_is_taken_from_clone3(more: bytes) -> None:
    given = arguments(UNTRACED | 0x100, more)
    verdict = clone3(call(0x1000, len(given), content=given))
    assert verdict == Rewrite(0, arguments(0x100, more))


def test_clone3_without_the_flag_is_the_kernels() -> None:
    assert clone3(call(0x1000, 64, content=arguments(0x100))) is CONTINUE


@pytest.mark.parametrize("size", [0, 7, 4097, 2**64 - 1])
def test_a_size_that_the_kernel_refuses_is_left_to_it(size: int) -> None:
    assert clone3(call(0x1000, size)) is CONTINUE


def test_a_bad_pointer_is_the_programs_own_error() -> None:
    with pytest.raises(Fault):
        clone3(call(0, 64))


def test_clone_is_trapped_with_the_flag_only() -> None:
    (first, _), (second, _) = rows(Action.TRACE(1))
    assert first.matches((UNTRACED, 0, 0, 0, 0, 0))
    assert not first.matches((SIGCHLD, UNTRACED, 0, 0, 0, 0))
    assert second.matches((0, 0, 0, 0, 0, 0))
