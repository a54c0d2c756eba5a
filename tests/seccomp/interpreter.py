"""A small interpreter of classic BPF as seccomp runs it, and the meaning of rules.

Both are written apart from the compiler.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mirrord_seccomp.bpf import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import Arch, name

STEPS: Final = 4096
"""Jumps only go forward, so a program cannot take more steps than it may have instructions."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the kernel shows a filter: ``struct seccomp_data``."""

    nr: int
    arch: int
    args: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    ip: int = 0

    def pack(self) -> bytes:
        return struct.pack("<IIQ6Q", self.nr, self.arch, self.ip, *self.args)


def run(program: bytes, call: Call) -> int:
    """Return what the program returns for a call; raise IndexError when a jump leaves the program."""
    return run_counted(program, call)[0]


def run_counted(program: bytes, call: Call) -> tuple[int, int]:
    """Return what the program returns for a call, and how many instructions that took."""
    instructions = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    data = call.pack()
    accumulator = at = 0
    for step in range(1, STEPS + 1):
        code, yes, no, k = instructions[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x54:
            accumulator &= k
        elif code == 0x05:
            at += k
        elif code == 0x06:
            return int(k), step
        else:
            truth = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: accumulator & k != 0,
            }[code]
            at += yes if truth else no
    raise AssertionError("the program does not end")


def meaning(rules: Sequence[Rule], arch: Arch, call: Call) -> Action:
    """Return what the rules say about a call."""
    called = name(call.nr, arch) if call.arch == arch.audit else None
    for rule in rules:
        if rule.syscall == called and all(_holds(test, call.args[test.arg]) for test in rule.tests):
            return rule.action
    return Action.ALLOW


def _holds(test: Test, register: int) -> bool:
    size = 1 << test.width
    argument = register % size & test.mask % size
    value = test.value % size
    return {
        Op.EQ: argument == value,
        Op.NE: argument != value,
        Op.LT: argument < value,
        Op.GE: argument >= value,
        Op.ANY_BITS: argument & value != 0,
        Op.NO_BITS: argument & value == 0,
    }[test.op]
