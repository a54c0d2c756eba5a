"""System call numbers, names and prototypes of x86-64 and AArch64, up to Linux 7.0.

Source: the kernel's UAPI headers (numbers), manual pages section 2 (arguments). A table is built when it is
first asked for.
"""

import os
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from mirrord_seccomp.syscalls.model import Arch, Arg, Kind, Syscall, UnsupportedArch

__all__ = ["Arch", "Arg", "Kind", "Syscall", "UnsupportedArch", "current_arch", "name", "number", "table"]


@cache
def current_arch() -> Arch:
    """Return this machine's architecture; raise :exc:`UnsupportedArch`."""
    machine = os.uname().machine
    try:
        return Arch(machine)
    except ValueError:
        raise UnsupportedArch(f"the system calls of {machine} are not known") from None


def number(name: str, arch: Arch) -> int | None:
    """Return the number of a call, None where the architecture has no such call."""
    return _numbers(arch).get(name)


def name(number: int, arch: Arch) -> str | None:
    """Return the name of a number, None for an unknown one."""
    return _names(arch).get(number)


@cache
def table(arch: Arch) -> Mapping[str, Syscall]:
    """Return every call of the architecture by name, in the order of the numbers."""
    from mirrord_seccomp.syscalls.prototypes import arguments

    calls = (Syscall(name, number, arguments(name, arch)) for name, number in _numbers(arch).items())
    return MappingProxyType({call.name: call for call in calls})


@cache
def _numbers(arch: Arch) -> Mapping[str, int]:
    return {name: number for number, name in _names(arch).items()}


@cache
def _names(arch: Arch) -> Mapping[int, str]:
    from mirrord_seccomp.syscalls import numbers_aarch64, numbers_common, numbers_x86_64

    own = numbers_x86_64 if arch is Arch.X86_64 else numbers_aarch64
    rows = own.ROWS | numbers_common.ROWS
    return {number: name for first, names in rows.items() for number, name in enumerate(names.split(), first)}
