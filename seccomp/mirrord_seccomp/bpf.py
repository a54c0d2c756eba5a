"""Compile rules about system calls to a seccomp filter, and show a filter as text. Pure.

Source: seccomp(2), ``include/uapi/linux/{seccomp,filter,bpf_common}.h``, ``kernel/seccomp.c``.

A program is assembled from its end to its start. Jumps of classic BPF only go forward, so each target's place
is known when the jump is made, and one that is too far for its 8 bits gets a stepping stone at once.

What depends only on the call's number comes before any look at an argument: since Linux 5.11 the kernel then
remembers which numbers are always allowed, and does not run the filter for them (``seccomp_cache_prepare``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from struct import Struct
from typing import ClassVar, Final, Literal, NewType

from mirrord_seccomp.syscalls import Arch, number

_INSTRUCTION: Final = Struct("<HBBI")
_NR, _ARCH, _ARGS = 0, 4, 16
_X32_BIT: Final = 0x40000000
_FAR: Final = 254
"""The longest jump without a stepping stone: one less than 8 bits allow, as the other branch's stone may come
between."""
_WORD: Final = 0xFFFFFFFF
_LEAF: Final = 4
"""So many numbers are compared one by one at the end of the binary search."""


class Code(IntEnum):
    """The instructions used here."""

    LOAD = 0x20
    AND = 0x54
    JUMP = 0x05
    IF_EQ = 0x15
    IF_GT = 0x25
    IF_GE = 0x35
    IF_BITS = 0x45
    RETURN = 0x06


@dataclass(frozen=True, slots=True)
class Action:
    """What the kernel does with a call; ``value`` is the filter's return value."""

    value: int

    ALLOW: ClassVar["Action"]
    NOTIFY: ClassVar["Action"]

    @staticmethod
    def TRACE(data: int) -> "Action":
        """Stop for the tracer, which reads the 16 bits of ``data``; ENOSYS without one."""
        return Action(0x7FF00000 | _sixteen_bits(data))

    @staticmethod
    def ERRNO(errno: int) -> "Action":
        """Fail the call without running it; the kernel makes a larger ``errno`` 4095."""
        return Action(0x00050000 | _sixteen_bits(errno))

    def __str__(self) -> str:
        kind, data = self.value & 0xFFFF0000, self.value & 0xFFFF
        name = _ACTION_NAMES.get(kind)
        if name is None:
            return f"{self.value:#010x}"
        return f"{name}({data})" if name in ("ERRNO", "TRACE") else name


Action.ALLOW = Action(0x7FFF0000)
Action.NOTIFY = Action(0x7FC00000)
_ACTION_NAMES: Final = {0x7FFF0000: "ALLOW", 0x7FC00000: "NOTIFY", 0x7FF00000: "TRACE", 0x00050000: "ERRNO"}


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

    ``width`` is 32 for an int, of whose register the kernel ignores the upper half, and 64 for a pointer, a size
    or a long. A negative ``value`` means its two's complement.
    """

    __test__: ClassVar = False

    arg: int
    op: Op
    value: int
    width: Literal[32, 64]
    mask: int = field(default=-1, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.arg <= 5:
            raise ValueError(f"a system call has arguments 0 to 5, not {self.arg}")
        if not -(1 << self.width - 1) <= self.value < 1 << self.width:
            raise ValueError(f"{self.value} does not fit into {self.width} bits")


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


def compile(rules: Iterable[Rule], arch: Arch) -> bytes:
    """Return the ``struct sock_filter`` array that applies the rules.

    The first rule of a call whose tests all hold decides; when none does, and for calls without a rule, unknown
    numbers, x32 calls and other architectures, the call is allowed. Calls that this architecture lacks are
    skipped.

    Raise ValueError for a call that no architecture has.
    """
    groups = _by_number(rules, arch)
    program = _Program()
    entry = program.search(groups)
    if arch is Arch.X86_64:
        # x32 calls carry the bit; so does -1, the number of a call that a tracer cancels.
        program.branch(Code.IF_GE, _X32_BIT, yes=program.give(Action.ALLOW), no=entry)
    entry = program.load(_NR)
    program.branch(Code.IF_EQ, arch.audit, yes=entry, no=program.give(Action.ALLOW))
    program.load(_ARCH)
    return program.assemble()


def _by_number(rules: Iterable[Rule], arch: Arch) -> list[tuple[int, list[Rule]]]:
    groups: dict[int, list[Rule]] = {}
    for rule in rules:
        nr = number(rule.syscall, arch)
        if nr is not None:
            groups.setdefault(nr, []).append(rule)
        elif all(number(rule.syscall, other) is None for other in Arch):
            raise ValueError(f"no architecture has a system call {rule.syscall!r}")
    return sorted(groups.items())


_Mark = NewType("_Mark", int)
"""An instruction, as its distance from the program's end: 1 is the last one."""


class _Program:
    """A program that grows at its start. Every method returns the mark of its first instruction."""

    def __init__(self) -> None:
        self._reversed: Final[list[bytes]] = []
        self._returns: Final[dict[Action, _Mark]] = {}

    def assemble(self) -> bytes:
        return b"".join(reversed(self._reversed))

    def search(self, groups: Sequence[tuple[int, list[Rule]]]) -> _Mark:
        """Find the loaded call number among the groups' (binary search), then apply its rules."""
        if len(groups) > _LEAF:
            middle = len(groups) // 2
            upper = self.search(groups[middle:])
            lower = self.search(groups[:middle])
            return self.branch(Code.IF_GE, groups[middle][0], yes=upper, no=lower)
        entry = self.give(Action.ALLOW)
        for nr, rules in reversed(groups):
            found = self._first_match(rules)
            entry = self.branch(Code.IF_EQ, nr, yes=found, no=entry)
        return entry

    def _first_match(self, rules: Sequence[Rule]) -> _Mark:
        entry = self.give(Action.ALLOW)
        for rule in reversed(rules):
            fail, entry = entry, self.give(rule.action)
            for test in reversed(rule.tests):
                entry = self._test(test, hold=entry, fail=fail)
        return entry

    def _test(self, test: Test, *, hold: _Mark, fail: _Mark) -> _Mark:
        """Go on at ``hold`` or ``fail``; BPF's accumulator has 32 bits, so a 64-bit argument is two loads."""
        if test.op in (Op.NE, Op.LT, Op.NO_BITS):
            hold, fail = fail, hold
        width_mask = (1 << test.width) - 1
        value, mask, wide = test.value & width_mask, test.mask & width_mask, test.width == 64
        low, high = _ARGS + 8 * test.arg, _ARGS + 8 * test.arg + 4
        match test.op:
            case Op.ANY_BITS | Op.NO_BITS:
                entry = self._half(low, Code.IF_BITS, value & mask, yes=hold, no=fail)
                return self._half(high, Code.IF_BITS, (value & mask) >> 32, yes=hold, no=entry) if wide else entry
            case Op.EQ | Op.NE:
                entry = self._half(low, Code.IF_EQ, value, mask, yes=hold, no=fail)
                return self._half(high, Code.IF_EQ, value >> 32, mask >> 32, yes=entry, no=fail) if wide else entry
            case Op.LT | Op.GE:
                entry = self._half(low, Code.IF_GE, value, mask, yes=hold, no=fail)
                if not wide:
                    return entry
                entry = self._half(high, Code.IF_EQ, value >> 32, mask >> 32, yes=entry, no=fail)
                return self._half(high, Code.IF_GT, value >> 32, mask >> 32, yes=hold, no=entry)

    def _half(
        self, offset: int, code: Code, value: int, mask: int = _WORD, *, yes: _Mark, no: _Mark
    ) -> _Mark:
        """Load 32 bits, mask them, and branch."""
        self.branch(code, value & _WORD, yes=yes, no=no)
        if mask & _WORD != _WORD:
            self._put(Code.AND, mask & _WORD)
        return self.load(offset)

    def load(self, offset: int) -> _Mark:
        """Load a word of ``struct seccomp_data`` for the instruction that is first now."""
        return self._put(Code.LOAD, offset)

    def give(self, action: Action) -> _Mark:
        """Return an action from the filter, by an instruction that is there already if it is near."""
        mark = self._returns.get(action)
        if mark is None or self._distance(mark) > _FAR:
            mark = self._returns[action] = self._put(Code.RETURN, action.value)
        return mark

    def branch(self, code: Code, value: int, *, yes: _Mark, no: _Mark) -> _Mark:
        """Jump by a comparison with what was loaded."""
        yes, no = self._near(yes), self._near(no)
        return self._put(code, value, self._distance(yes), self._distance(no))

    def _near(self, mark: _Mark) -> _Mark:
        return mark if self._distance(mark) <= _FAR else self._put(Code.JUMP, self._distance(mark))

    def _distance(self, mark: _Mark) -> int:
        """Return how many instructions a jump made now would skip."""
        return len(self._reversed) - mark

    def _put(self, code: Code, value: int, yes: int = 0, no: int = 0) -> _Mark:
        self._reversed.append(_INSTRUCTION.pack(code, yes, no, value))
        return _Mark(len(self._reversed))


def disassemble(program: bytes) -> str:
    """Return one line for each instruction, with absolute targets; raise ValueError for bytes that are no such program."""
    if len(program) % _INSTRUCTION.size:
        raise ValueError(f"{len(program)} bytes are not a whole number of instructions")
    lines = (f"{at:04} {_line(at, *fields)}\n" for at, fields in enumerate(_INSTRUCTION.iter_unpack(program)))
    return "".join(lines)


def _line(at: int, code: int, yes: int, no: int, value: int) -> str:
    match code:
        case Code.LOAD:
            return f"load {_place(value)}"
        case Code.AND:
            return f"and {value:#x}"
        case Code.JUMP:
            return f"goto {at + 1 + value:04}"
        case Code.RETURN:
            return f"return {Action(value)}"
        case Code.IF_EQ | Code.IF_GT | Code.IF_GE | Code.IF_BITS:
            sign = {Code.IF_EQ: "==", Code.IF_GT: ">", Code.IF_GE: ">=", Code.IF_BITS: "&"}[Code(code)]
            return f"if {sign} {value:#x} goto {at + 1 + yes:04} else {at + 1 + no:04}"
    raise ValueError(f"instruction {at} has the unknown code {code:#04x}")


def _place(offset: int) -> str:
    if offset >= _ARGS:
        return f"args[{(offset - _ARGS) // 8}].{'high' if offset % 8 else 'low'}"
    return {_NR: "nr", _ARCH: "arch", 8: "ip.low", 12: "ip.high"}[offset]


def _sixteen_bits(data: int) -> int:
    if not 0 <= data <= 0xFFFF:
        raise ValueError(f"{data} does not fit into the 16 bits of an action's data")
    return data
