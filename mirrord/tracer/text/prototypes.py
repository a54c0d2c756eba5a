"""What the arguments of each call are: python-ptrace's prototypes, and our tables where it has none.

python-ptrace 0.9.9 knows the types; it lacks what came after Linux 5.4, and does not say which pointer is a
path.
"""

from dataclasses import dataclass
from functools import cache

from mirrord_seccomp.syscalls import Kind, current_arch, name, table
from ptrace.syscall import SYSCALL_PROTOTYPES  # type: ignore[import-untyped]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: the name that the manual page has, what it is, and its type in C."""

    name: str
    kind: Kind
    type: str


@dataclass(frozen=True, slots=True)
class Prototype:
    """One call."""

    name: str
    arguments: tuple[Argument, ...]

    @property
    def paths(self) -> tuple[int, ...]:
        """Which arguments point to texts of the program."""
        return tuple(
            index for index, one in enumerate(self.arguments) if one.kind in (Kind.PATH, Kind.STRING)
        )


@cache
def prototype(number: int) -> Prototype:
    """Return what is known of a call."""
    called = name(number, current_arch()) or f"syscall_{number:#x}"
    types = [type_ for type_, _ in SYSCALL_PROTOTYPES.get(called, ("long", ()))[1]]
    known = table(current_arch()).get(called)
    arguments = known.args if known is not None else ()
    return Prototype(
        called,
        tuple(
            Argument(one.name, one.kind, types[index] if index < len(types) else "")
            for index, one in enumerate(arguments)
        ),
    )
