"""What a filter is compiled from: for one system call, an action and the conditions on its arguments."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Final, Literal

_KIND_MASK: Final = 0xFFFF0000
_DATA_MASK: Final = 0x0000FFFF


@dataclass(frozen=True, slots=True)
class Action:
    """What the kernel does with a call; ``value`` is what the filter returns (seccomp(2))."""

    value: int

    ALLOW: ClassVar["Action"]
    NOTIFY: ClassVar["Action"]

    @staticmethod
    def TRACE(data: int) -> "Action":
        """Stop for the tracer, which reads the 16 bits of ``data``; without one the call gets ENOSYS."""
        return Action(0x7FF00000 | _sixteen_bits(data))

    @staticmethod
    def ERRNO(errno: int) -> "Action":
        """Fail the call without running it; the kernel takes more than 4095 for 4095."""
        return Action(0x00050000 | _sixteen_bits(errno))

    def __str__(self) -> str:
        name = _NAMES.get(self.value & _KIND_MASK)
        if name is None:
            return f"{self.value:#010x}"
        return f"{name}({self.value & _DATA_MASK})" if name in ("ERRNO", "TRACE") else name


Action.ALLOW = Action(0x7FFF0000)
Action.NOTIFY = Action(0x7FC00000)

_NAMES: Final = {0x7FFF0000: "ALLOW", 0x7FC00000: "NOTIFY", 0x7FF00000: "TRACE", 0x00050000: "ERRNO"}


class Op(Enum):
    """A comparison of an argument with a value; both are unsigned."""

    EQ = "=="
    NE = "!="
    LT = "<"
    GE = ">="
    ANY_BITS = "any of"
    NO_BITS = "none of"


@dataclass(frozen=True, slots=True)
class Test:
    """A condition on one argument (0 to 5): ``(argument & mask) op value``.

    ``width`` is 32 for an int, of whose register the kernel ignores the upper half, and 64 for a pointer, a
    size or a long. A negative ``value`` means its two's complement.

    Raise ValueError for an argument that no call has, or a value or mask that the width cannot hold.
    """

    __test__: ClassVar = False  # pytest takes a class of this name for tests

    arg: int
    op: Op
    value: int
    width: Literal[32, 64]
    mask: int = field(default=-1, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.arg <= 5:
            raise ValueError(f"a system call has arguments 0 to 5, not {self.arg}")
        for number in (self.value, self.mask):
            if not -(1 << (self.width - 1)) <= number < 1 << self.width:
                raise ValueError(f"{number} does not fit into {self.width} bits")

    def holds(self, args: Sequence[int]) -> bool:
        """Tell whether the condition is true of a call's six argument registers, as the filter would."""
        full = (1 << self.width) - 1
        return _COMPARE[self.op](args[self.arg] & self.mask & full, self.value & full)


_COMPARE: Final[dict[Op, Callable[[int, int], bool]]] = {
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.LT: operator.lt,
    Op.GE: operator.ge,
    Op.ANY_BITS: lambda value, bits: bool(value & bits),
    Op.NO_BITS: lambda value, bits: not value & bits,
}


@dataclass(frozen=True, slots=True, init=False)
class Rule:
    """What to do with a call when all tests hold."""

    syscall: str
    action: Action
    tests: tuple[Test, ...]

    def __init__(self, syscall: str, action: Action, *tests: Test) -> None:
        object.__setattr__(self, "syscall", syscall)
        object.__setattr__(self, "action", action)
        object.__setattr__(self, "tests", tests)

    def matches(self, args: Sequence[int]) -> bool:
        """Tell whether all tests hold for a call's six argument registers."""
        return all(test.holds(args) for test in self.tests)

    def acting(self, action: Action) -> "Rule":
        """Return the rule with another action."""
        return Rule(self.syscall, action, *self.tests)


def _sixteen_bits(data: int) -> int:
    if not 0 <= data <= _DATA_MASK:
        raise ValueError(f"{data} does not fit into the 16 bits of an action's data")
    return data
