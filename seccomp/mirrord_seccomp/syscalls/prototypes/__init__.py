"""The arguments of every system call: a line of ``name:KIND`` in the order of the registers.

Source: manual pages section 2, and ``include/linux/syscalls.h`` for calls without a page. Removed calls,
which answer ENOSYS, have no arguments.
"""

from collections import ChainMap
from functools import cache
from typing import Final

from mirrord_seccomp.syscalls.model import Arch, Arg, Kind
from mirrord_seccomp.syscalls.prototypes import descriptors, files, memory, network, process, system, time

_PROTOTYPES: Final = ChainMap(
    descriptors.PROTOTYPES,
    files.PROTOTYPES,
    memory.PROTOTYPES,
    network.PROTOTYPES,
    process.PROTOTYPES,
    system.PROTOTYPES,
    time.PROTOTYPES,
)

_AARCH64: Final = {
    # CONFIG_CLONE_BACKWARDS: the last two are swapped.
    "clone": "flags:FLAGS stack:POINTER parent_tid:POINTER tls:POINTER child_tid:POINTER",
}


def arguments(name: str, arch: Arch) -> tuple[Arg, ...]:
    """Return the arguments of a call; raise KeyError for one that no table has."""
    line = _AARCH64.get(name) if arch is Arch.AARCH64 else None
    return tuple(map(_arg, (line or _PROTOTYPES[name]).split()))


@cache
def _arg(word: str) -> Arg:
    name, kind = word.split(":")
    return Arg(name, Kind[kind])
