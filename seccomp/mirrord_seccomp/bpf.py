"""Compile rules about system calls to a seccomp filter. Pure.

Source: seccomp(2) and ``kernel/seccomp.c``.

A program is assembled from its end to its start. Jumps of classic BPF only go forward, so each target's place
is known when the jump is made, and one that is too far for its 8 bits gets a stepping stone at once.

What depends only on the call's number comes before any look at an argument: since Linux 5.11 the kernel then
remembers which numbers are always allowed, and does not run the filter for them (``seccomp_cache_prepare``).
"""

from collections.abc import Iterable, Sequence
from typing import Final, NewType

from mirrord_seccomp.instructions import ARCH, ARGS, INSTRUCTION, NR, Code, disassemble
from mirrord_seccomp.rules import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import Arch, number

__all__ = ["Action", "Op", "Rule", "Test", "compile", "disassemble"]

_Mark = NewType("_Mark", int)
"""An instruction, as its distance from the program's end: 1 is the last one."""

_X32_BIT: Final = 0x40000000
_WORD: Final = 0xFFFFFFFF
_FAR: Final = 254
"""The longest jump without a stepping stone: one less than 8 bits allow, for the other branch's stone."""
_LEAF: Final = 4
"""So many numbers are compared one by one at the end of the binary search."""


def compile(rules: Iterable[Rule], arch: Arch) -> bytes:
    """Return the ``struct sock_filter`` array that applies the rules.

    The first rule of a call whose tests all hold decides; when none does, and for calls without a rule,
    unknown numbers, x32 calls and other architectures, the call is allowed. Calls that this architecture
    lacks are skipped.

    Raise ValueError for a call that no architecture has.
    """
    groups = _by_number(rules, arch)
    program = _Program()
    entry = program.search(groups)
    if arch is Arch.X86_64:
        # x32 calls carry the bit; so does -1, the number of a call that a tracer cancels.
        entry = program.branch(Code.IF_GE, _X32_BIT, yes=program.give(Action.ALLOW), no=entry)
    entry = program.load(NR)
    program.branch(Code.IF_EQ, arch.audit, yes=entry, no=program.give(Action.ALLOW))
    program.load(ARCH)
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


class _Program:
    """A program that grows at its start. Methods that add to it return the mark of its first instruction."""

    def __init__(self) -> None:
        self._reversed: Final[list[bytes]] = []
        self._returns: Final[dict[Action, _Mark]] = {}

    def assemble(self) -> bytes:
        return b"".join(reversed(self._reversed))

    def search(self, groups: Sequence[tuple[int, list[Rule]]]) -> _Mark:
        """Find the loaded number among the groups' by binary search, and apply that group's rules."""
        if len(groups) > _LEAF:
            middle = len(groups) // 2
            upper = self.search(groups[middle:])
            lower = self.search(groups[:middle])
            return self.branch(Code.IF_GE, groups[middle][0], yes=upper, no=lower)
        entry = self.give(Action.ALLOW)
        for nr, rules in reversed(groups):
            entry = self.branch(Code.IF_EQ, nr, yes=self._first_match(rules), no=entry)
        return entry

    def _first_match(self, rules: Sequence[Rule]) -> _Mark:
        entry = self.give(Action.ALLOW)
        for rule in reversed(rules):
            fail, entry = entry, self.give(rule.action)
            for test in reversed(rule.tests):
                entry = self._test(test, hold=entry, fail=fail)
        return entry

    def _test(self, test: Test, *, hold: _Mark, fail: _Mark) -> _Mark:
        """Go on at ``hold`` or ``fail``. The accumulator has 32 bits: 64-bit arguments take two loads."""
        if test.op in (Op.NE, Op.LT, Op.NO_BITS):
            hold, fail = fail, hold
        value, mask = test.value, test.mask
        low, high = ARGS + 8 * test.arg, ARGS + 8 * test.arg + 4
        wide = test.width == 64
        match test.op:
            case Op.EQ | Op.NE:
                entry = self._half(low, Code.IF_EQ, value, mask, yes=hold, no=fail)
                if wide:
                    entry = self._half(high, Code.IF_EQ, value >> 32, mask >> 32, yes=entry, no=fail)
            case Op.ANY_BITS | Op.NO_BITS:
                entry = self._half(low, Code.IF_BITS, value, mask, yes=hold, no=fail)
                if wide:
                    entry = self._half(high, Code.IF_BITS, value >> 32, mask >> 32, yes=hold, no=entry)
            case Op.GE | Op.LT:
                entry = self._half(low, Code.IF_GE, value, mask, yes=hold, no=fail)
                if wide:
                    entry = self.branch(Code.IF_EQ, value >> 32 & _WORD, yes=entry, no=fail)
                    entry = self._half(high, Code.IF_GT, value >> 32, mask >> 32, yes=hold, no=entry)
        return entry

    def _half(self, offset: int, code: Code, value: int, mask: int, *, yes: _Mark, no: _Mark) -> _Mark:
        """Load 32 bits, mask them, and branch; only the low 32 bits of ``value`` and ``mask`` count."""
        self.branch(code, value & _WORD, yes=yes, no=no)
        if mask & _WORD != _WORD:
            self._put(Code.AND, mask & _WORD)
        return self.load(offset)

    def load(self, offset: int) -> _Mark:
        """Load a word of ``struct seccomp_data`` for the instruction that is the first one now."""
        return self._put(Code.LOAD, offset)

    def give(self, action: Action) -> _Mark:
        """Return the mark of an instruction that ends the filter, a new one if there is none near."""
        mark = self._returns.get(action)
        if mark is None or self._distance(mark) > _FAR:
            mark = self._returns[action] = self._put(Code.RETURN, action.value)
        return mark

    def branch(self, code: Code, value: int, *, yes: _Mark, no: _Mark) -> _Mark:
        """Compare what was loaded, and jump."""
        yes, no = self._near(yes), self._near(no)
        return self._put(code, value, self._distance(yes), self._distance(no))

    def _near(self, mark: _Mark) -> _Mark:
        distance = self._distance(mark)
        return mark if distance <= _FAR else self._put(Code.JUMP, distance)

    def _distance(self, mark: _Mark) -> int:
        """Return how many instructions a jump that is added now would skip."""
        return len(self._reversed) - mark

    def _put(self, code: Code, k: int, yes: int = 0, no: int = 0) -> _Mark:
        self._reversed.append(INSTRUCTION.pack(code, yes, no, k))
        return _Mark(len(self._reversed))
