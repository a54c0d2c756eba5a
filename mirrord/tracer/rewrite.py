"""A call that is run with another argument: the one verdict that only the ptrace engine knows."""

from dataclasses import dataclass
from typing import Final

from mirrord_seccomp.rules import Action, Op, Rule, Test

from mirrord.syscall import CONTINUE, Call, Handler, Verdict

_CLONE_UNTRACED: Final = 0x00800000
_FLAGS: Final = 8
"""The first field of ``struct clone_args`` (clone(2))."""
_MOST: Final = 4096


@dataclass(frozen=True, slots=True)
class Rewrite(Verdict):
    """Run the call with another value of one argument, which the program gets back afterwards.

    Bytes are put into a page of the thread's own, and the argument points there: the program's own copy may
    be a constant, or another thread's as well.
    """

    argument: int
    value: int | bytes


def rows(trap: Action) -> list[tuple[Rule, Handler]]:
    """Return the calls by which a child could be made that nobody traces, and yet is filtered."""
    untraced = Test(0, Op.ANY_BITS, _CLONE_UNTRACED, 64)
    return [(Rule("clone", trap, untraced), clone), (Rule("clone3", trap), clone3)]


def clone(call: Call) -> Verdict:
    """Have the child traced after all (clone(2))."""
    return Rewrite(0, call.args[0] & ~_CLONE_UNTRACED)


def clone3(call: Call) -> Verdict:
    """Have the child traced after all (clone3(2)), whose flags are in memory."""
    size = call.args[1]
    if not _FLAGS <= size <= _MOST:
        return CONTINUE
    flags = int.from_bytes(call.read(call.args[0], _FLAGS), "little")
    if not flags & _CLONE_UNTRACED:
        return CONTINUE
    rest = call.read(call.args[0], size)[_FLAGS:]
    traced = (flags & ~_CLONE_UNTRACED).to_bytes(_FLAGS, "little") + rest
    if call.watched:
        call.here(call.args[0], traced)
    return Rewrite(0, traced)
