"""One row of the table of system calls: which calls are trapped, and who decides them."""

from dataclasses import dataclass
from typing import Final

from mirrord_seccomp.rules import Action, Op, Rule, Test

from mirrord.syscall import Handler


@dataclass(frozen=True, slots=True)
class Row:
    """A rule of the filter and, where it traps, its handler."""

    rule: Rule
    handler: Handler | None = None


def trap(syscall: str, handler: Handler, *tests: Test) -> Row:
    """Trap a call whose arguments pass all tests."""
    return Row(Rule(syscall, Action.NOTIFY, *tests), handler)


def refuse(syscall: str, errno: int, *tests: Test) -> Row:
    """Fail a call in the kernel, without a trap."""
    return Row(Rule(syscall, Action.ERRNO(errno), *tests))


def given(argument: int) -> Test:
    """Test that a pointer argument is not NULL."""
    return Test(argument, Op.NE, 0, 64)


def equal(argument: int, value: int) -> Test:
    """Test that an int argument has a value."""
    return Test(argument, Op.EQ, value, 32)


def without(argument: int, bits: int) -> Test:
    """Test that an int argument has none of some bits."""
    return Test(argument, Op.NO_BITS, bits, 32)


AT_EMPTY_PATH: Final = 0x1000
