"""Filters: their text, their meaning by an interpreter, and what the kernel makes of them."""

import errno
import platform
import re
import subprocess
from collections.abc import Sequence
from itertools import product
from typing import Final, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_seccomp.bpf import Action, Op, Rule, Test, compile, disassemble
from mirrord_seccomp.load import INSTRUCTION_SIZE, MAX_INSTRUCTIONS
from mirrord_seccomp.syscalls import Arch, current_arch, number, table

from .interpreter import Call, meaning, run, run_counted
from .trying import command, errno_of

WIDTHS: Final[tuple[Literal[32, 64], ...]] = (32, 64)

SESSION = [
    Rule("open", Action.NOTIFY),
    Rule("openat", Action.NOTIFY),
    Rule("io_uring_setup", Action.ERRNO(errno.ENOSYS)),
    Rule("socket", Action.ERRNO(errno.EPROTONOSUPPORT), Test(2, Op.EQ, 262, 32)),
    Rule("recvfrom", Action.NOTIFY, Test(4, Op.NE, 0, 64)),
    Rule("newfstatat", Action.TRACE(7), Test(3, Op.NO_BITS, 0x1000, 32)),
]

SESSION_X86_64 = """\
0000 load arch
0001 if == 0xc000003e goto 0002 else 0023
0002 load nr
0003 if >= 0x40000000 goto 0023 else 0004
0004 if >= 0x101 goto 0015 else 0005
0005 if == 0x2 goto 0016 else 0006
0006 if == 0x29 goto 0007 else 0010
0007 load args[2].low
0008 if == 0x106 goto 0009 else 0023
0009 return ERRNO(93)
0010 if == 0x2d goto 0011 else 0023
0011 load args[4].high
0012 if == 0x0 goto 0013 else 0016
0013 load args[4].low
0014 if == 0x0 goto 0023 else 0016
0015 if == 0x101 goto 0016 else 0017
0016 return NOTIFY
0017 if == 0x106 goto 0018 else 0021
0018 load args[3].low
0019 if & 0x1000 goto 0023 else 0020
0020 return TRACE(7)
0021 if == 0x1a9 goto 0022 else 0023
0022 return ERRNO(38)
0023 return ALLOW
"""

SESSION_AARCH64 = """\
0000 load arch
0001 if == 0xc00000b7 goto 0002 else 0021
0002 load nr
0003 if >= 0xc6 goto 0009 else 0004
0004 if == 0x38 goto 0018 else 0005
0005 if == 0x4f goto 0006 else 0021
0006 load args[3].low
0007 if & 0x1000 goto 0021 else 0008
0008 return TRACE(7)
0009 if == 0xc6 goto 0010 else 0013
0010 load args[2].low
0011 if == 0x106 goto 0012 else 0021
0012 return ERRNO(93)
0013 if == 0xcf goto 0014 else 0019
0014 load args[4].high
0015 if == 0x0 goto 0016 else 0018
0016 load args[4].low
0017 if == 0x0 goto 0021 else 0018
0018 return NOTIFY
0019 if == 0x1a9 goto 0020 else 0021
0020 return ERRNO(38)
0021 return ALLOW
"""

TESTS_OF_ALL_KINDS = [
    Rule("socket", Action.ERRNO(93), Test(0, Op.NE, 1, 32), Test(1, Op.EQ, 1, 32, mask=0xF)),
    Rule("socket", Action.NOTIFY, Test(0, Op.GE, 2 << 32 | 5, 64)),
    Rule("socket", Action.TRACE(1), Test(5, Op.ANY_BITS, 1 << 40 | 1, 64)),
]

TESTS_OF_ALL_KINDS_AARCH64 = """\
0000 load arch
0001 if == 0xc00000b7 goto 0002 else 0021
0002 load nr
0003 if == 0xc6 goto 0004 else 0021
0004 load args[0].low
0005 if == 0x1 goto 0010 else 0006
0006 load args[1].low
0007 and 0xf
0008 if == 0x1 goto 0009 else 0010
0009 return ERRNO(93)
0010 load args[0].high
0011 if > 0x2 goto 0015 else 0012
0012 if == 0x2 goto 0013 else 0016
0013 load args[0].low
0014 if >= 0x5 goto 0015 else 0016
0015 return NOTIFY
0016 load args[5].high
0017 if & 0x100 goto 0020 else 0018
0018 load args[5].low
0019 if & 0x1 goto 0020 else 0021
0020 return TRACE(1)
0021 return ALLOW
"""


@pytest.mark.parametrize(
    ("rules", "arch", "text"),
    [
        (SESSION, Arch.X86_64, SESSION_X86_64),
        (SESSION, Arch.AARCH64, SESSION_AARCH64),
        (TESTS_OF_ALL_KINDS, Arch.AARCH64, TESTS_OF_ALL_KINDS_AARCH64),
    ],
)
def test_text(rules: Sequence[Rule], arch: Arch, text: str) -> None:
    assert disassemble(compile(rules, arch)) == text


def test_no_rules_allow_everything() -> None:
    program = compile([], Arch.AARCH64)
    assert disassemble(program).splitlines()[-1] == "0003 return ALLOW"
    assert run(program, Call(0, Arch.AARCH64.audit)) == Action.ALLOW.value


def test_a_call_that_the_architecture_lacks_is_skipped() -> None:
    assert compile([Rule("open", Action.NOTIFY)], Arch.AARCH64) == compile([], Arch.AARCH64)


def test_a_call_that_no_architecture_has_is_an_error() -> None:
    with pytest.raises(ValueError, match="'opennat'"):
        compile([Rule("opennat", Action.NOTIFY)], Arch.X86_64)


@pytest.mark.parametrize("data", [-1, 0x10000])
def test_action_data_has_16_bits(data: int) -> None:
    with pytest.raises(ValueError, match="16 bits"):
        Action.TRACE(data)


def test_an_unknown_action_is_shown_as_a_number() -> None:
    assert str(Action(0x80000000)) == "0x80000000"


def test_a_test_must_fit() -> None:
    with pytest.raises(ValueError, match="0 to 5"):
        Test(6, Op.EQ, 0, 32)
    with pytest.raises(ValueError, match="32 bits"):
        Test(0, Op.EQ, 1 << 32, 32)
    with pytest.raises(ValueError, match="32 bits"):
        Test(0, Op.EQ, 0, 32, mask=1 << 32)


def test_only_whole_known_instructions_are_shown() -> None:
    with pytest.raises(ValueError, match="whole number"):
        disassemble(bytes(7))
    with pytest.raises(ValueError, match="0x00"):
        disassemble(bytes(8))


# --- by the interpreter ---

NAMES = ["read", "open", "openat", "socket", "connect", "recvfrom", "newfstatat", "close", "dup3", "mseal"]
CORNERS = [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, (1 << 64) - 1]

registers = st.sampled_from(CORNERS) | st.integers(0, 2**64 - 1)
actions = st.sampled_from([Action.ALLOW, Action.NOTIFY, Action.TRACE(3), Action.ERRNO(13)])


@st.composite
def conditions(draw: st.DrawFn) -> Test:
    width: Literal[32, 64] = draw(st.sampled_from(WIDTHS))
    value = draw(registers) % 2**width
    mask = draw(st.just(-1) | registers.map(lambda bits: bits % 2**width))
    return Test(draw(st.integers(0, 5)), draw(st.sampled_from(Op)), value, width, mask=mask)


rules = st.builds(
    lambda name, action, tests: Rule(name, action, *tests),
    st.sampled_from(NAMES),
    actions,
    st.lists(conditions(), max_size=4),
)


@st.composite
def calls(draw: st.DrawFn, rules: Sequence[Rule], arch: Arch) -> Call:
    """Draw a call that often is one of the rules', with arguments that often are the tests'."""
    numbers = [nr for name in NAMES if (nr := number(name, arch)) is not None]
    nr = draw(st.sampled_from(numbers) | st.sampled_from([0x40000000 | numbers[0], 0xFFFFFFFF, 400, 9999]))
    values = [test.value for rule in rules for test in rule.tests]
    near = st.sampled_from(values).map(lambda value: value % 2**64) if values else registers
    audit = draw(st.sampled_from([arch.audit, arch.audit, arch.audit, 0x40000003]))
    return Call(nr, audit, draw(st.tuples(*[near | registers] * 6)))


@given(st.data(), st.lists(rules, max_size=30), st.sampled_from(Arch))
def test_a_filter_means_what_its_rules_say(data: st.DataObject, rules: list[Rule], arch: Arch) -> None:
    program = compile(rules, arch)
    for _ in range(5):
        call = data.draw(calls(rules, arch))
        assert run(program, call) == meaning(rules, arch, call).value


@given(conditions(), registers)
def test_one_test(test: Test, register: int) -> None:
    rules = [Rule("close", Action.NOTIFY, test)]
    call = Call(57, Arch.AARCH64.audit, (register,) * 6)
    assert run(compile(rules, Arch.AARCH64), call) == meaning(rules, Arch.AARCH64, call).value


def test_one_test_at_every_corner() -> None:
    for op, value, register, mask in product(Op, CORNERS, CORNERS, [-1, 0, 0xF, 1 << 32]):
        rules = [Rule("close", Action.NOTIFY, Test(0, op, value, 64, mask=mask))]
        call = Call(57, Arch.AARCH64.audit, (register, 0, 0, 0, 0, 0))
        assert run(compile(rules, Arch.AARCH64), call) == meaning(rules, Arch.AARCH64, call).value


def long_rules(arch: Arch) -> list[Rule]:
    """Return rules whose program has jumps that are too far for one instruction."""
    wide = [Test(arg, Op.GE, (arg + 1) << 32 | arg, 64) for arg in range(2)]
    return [Rule(name, Action.TRACE(nr), *wide) for nr, name in enumerate(list(table(arch))[:300])]


@pytest.mark.parametrize("arch", Arch)
def test_far_jumps(arch: Arch) -> None:
    rules = long_rules(arch)
    program = compile(rules, arch)
    assert len(program) // INSTRUCTION_SIZE <= MAX_INSTRUCTIONS
    assert re.search("^.... goto", disassemble(program), re.MULTILINE)
    for rule in rules:
        nr = number(rule.syscall, arch)
        assert nr is not None
        for register in (0, 1 << 33, 3 << 32):
            call = Call(nr, arch.audit, (register,) * 6)
            assert run(program, call) == meaning(rules, arch, call).value


@pytest.mark.parametrize("arch", Arch)
def test_a_call_without_a_rule_is_found_by_a_binary_search(arch: Arch) -> None:
    program = compile([Rule(name, Action.NOTIFY) for name in table(arch)], arch)
    counts = [run_counted(program, Call(nr, arch.audit))[1] for nr in range(500)]
    # 7 halvings, 4 comparisons, stepping stones between them, and the checks before and the return after.
    assert max(counts) <= 24


# --- by the kernel ---


@pytest.mark.usefixtures("filters")
class TestKernel:
    """Calls with invented arguments that fail with EBADF natively, since descriptor 1000 is not open."""

    def test_a_call_without_a_rule_runs(self) -> None:
        assert errno_of([Rule("fchdir", Action.ERRNO(errno.EXDEV))], "fsync", 1000) == errno.EBADF

    def test_a_call_with_a_rule_fails(self) -> None:
        assert errno_of([Rule("fchdir", Action.ERRNO(errno.EXDEV))], "fchdir", 1000) == errno.EXDEV

    def test_the_first_matching_rule_decides(self) -> None:
        rules = [
            Rule("fchmod", Action.ERRNO(errno.EXDEV), Test(1, Op.EQ, 0o600, 32)),
            Rule("fchmod", Action.ERRNO(errno.ENOTTY), Test(1, Op.ANY_BITS, 0o077, 32)),
        ]
        assert errno_of(rules, "fchmod", 1000, 0o600) == errno.EXDEV
        assert errno_of(rules, "fchmod", 1000, 0o644) == errno.ENOTTY
        assert errno_of(rules, "fchmod", 1000, 0o700) == errno.EBADF

    def test_the_upper_half_counts_in_64_bits_only(self) -> None:
        high = 1 << 32
        exdev = Action.ERRNO(errno.EXDEV)
        narrow, wide = (Rule("ftruncate", exdev, Test(1, Op.EQ, 0, width)) for width in WIDTHS)
        assert errno_of([narrow], "ftruncate", 1000, high) == errno.EXDEV
        assert errno_of([wide], "ftruncate", 1000, high) == errno.EBADF
        assert errno_of([wide], "ftruncate", 1000, 0) == errno.EXDEV

    def test_a_negative_value(self) -> None:
        rules = [Rule("fchownat", Action.ERRNO(errno.EXDEV), Test(0, Op.EQ, -100, 32))]
        assert errno_of(rules, "fchownat", 2**64 - 100, 0, 0, 0, 0) == errno.EXDEV
        assert errno_of(rules, "fchownat", 1000, 0, 0, 0, 0) == errno.EFAULT

    def test_trace_and_notify_without_anybody_are_enosys(self) -> None:
        assert errno_of([Rule("fsync", Action.TRACE(1))], "fsync", 1000) == errno.ENOSYS
        assert errno_of([Rule("fsync", Action.NOTIFY)], "fsync", 1000) == errno.ENOSYS

    def test_far_jumps_are_accepted(self) -> None:
        allowed = [Rule(rule.syscall, Action.ALLOW, *rule.tests) for rule in long_rules(current_arch())]
        rules = [Rule("fsync", Action.ERRNO(errno.EXDEV)), *allowed]
        assert errno_of(rules, "fsync", 1000) == errno.EXDEV
        assert errno_of(rules, "fchdir", 1000) == errno.EBADF

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="x32 calls are x86-64's")
    def test_x32_calls_are_left_to_the_kernel(self) -> None:
        program = compile([Rule("fsync", Action.ERRNO(errno.EXDEV))], Arch.X86_64)
        line = command(program, "fsync", 1000)
        line[line.index("74")] = str(0x40000000 | 74)
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.returncode in (errno.EBADF, errno.ENOSYS)
