"""One row of the table of system calls: which calls are trapped, and who decides them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mirrord_seccomp.rules import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import current_arch, number

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


AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000


def trap_paths(syscall: str, handler: Handler, *, directory: int, flags: int) -> tuple[Row, ...]:
    """Trap a call on a path, but not what fstat(3) is in C libraries and runtimes: a descriptor, and
    AT_EMPTY_PATH alone as flags. Either row traps.
    """
    return (
        trap(syscall, handler, Test(flags, Op.NE, AT_EMPTY_PATH, 32)),
        trap(syscall, handler, equal(directory, AT_FDCWD)),
    )


def traps_of(rows: Iterable[Row]) -> dict[int, tuple[Rule, ...]]:
    """Return the rules by which calls are trapped, by number; each of a call's rules is enough."""
    found: dict[int, tuple[Rule, ...]] = {}
    for row in rows:
        if row.handler is not None and (nr := number(row.rule.syscall, current_arch())) is not None:
            found[nr] = (*found.get(nr, ()), row.rule)
    return found
