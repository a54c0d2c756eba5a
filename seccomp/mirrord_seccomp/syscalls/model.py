"""What a system call table is made of."""

from dataclasses import dataclass
from enum import Enum


class Arch(Enum):
    """An architecture whose system calls are known; the value is the kernel's name for it (``uname -m``)."""

    X86_64 = "x86_64"
    AARCH64 = "aarch64"

    @property
    def audit(self) -> int:
        """Return the AUDIT_ARCH number that seccomp reports (``include/uapi/linux/audit.h``)."""
        return 0xC000003E if self is Arch.X86_64 else 0xC00000B7


class UnsupportedArch(Exception):
    """Raised on a machine whose system calls are not in the tables."""


class Kind(Enum):
    """What an argument register holds."""

    ADVICE = "one of a call's named values"
    COMMAND = "the operation of a multiplexed call (ioctl, fcntl, prctl, ...)"
    DEVICE = "a device number"
    DIRFD = "a directory that a relative path starts at, or AT_FDCWD"
    FD = "a file descriptor"
    FLAGS = "bits"
    GID = "a group, -1 for none"
    INT = "a number"
    MODE = "permission bits, and for mknod the file type"
    OFFSET = "a position in a file"
    PATH = "a pointer to a path"
    PID = "a process, thread or process group"
    POINTER = "a pointer to something else"
    SIGNAL = "a signal number"
    SIZE = "a number of bytes"
    SOCKADDR = "a pointer to a socket address"
    STRING = "a pointer to a text that is not a path"
    UID = "a user, -1 for none"


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a system call, named as in its manual page."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Syscall:
    """One system call of one architecture."""

    name: str
    number: int
    args: tuple[Arg, ...]
