"""The system calls that make namespaces and mounts, which Python 3.11 lacks.

Numbers since 424 are the same on every architecture (include/uapi/asm-generic/unistd.h); ``pivot_root`` is the one older call that
the C library does not wrap.
"""

import ctypes
import os
from typing import Final, NoReturn

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 0x1
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MNT_DETACH: Final = 2

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_MOUNT_ATTR_RDONLY: Final = 1
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_CLOEXEC: Final = os.O_CLOEXEC
_FSOPEN_CLOEXEC: Final = 1

_NR_OPEN_TREE: Final = 428
_NR_MOVE_MOUNT: Final = 429
_NR_FSOPEN: Final = 430
_NR_FSCONFIG: Final = 431
_NR_FSMOUNT: Final = 432
_NR_CLONE3: Final = 435
_NR_MOUNT_SETATTR: Final = 442
_NR_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}

_SIGCHLD: Final = 17

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _CloneArgs(ctypes.Structure):
    """``struct clone_args``, its first version of 64 bytes (clone3(2))."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    )


class _MountAttr(ctypes.Structure):
    """``struct mount_attr`` (mount_setattr(2))."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def _fail(what: str) -> NoReturn:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), what)


def _syscall(what: str, number: int, *arguments: int | bytes | ctypes.Structure | None) -> int:
    """Call by number; integers are passed as longs, for the C library would read 32 bits of what ctypes calls an int."""
    values = [
        ctypes.c_long(value)
        if isinstance(value, int)
        else ctypes.byref(value)
        if isinstance(value, ctypes.Structure)
        else value
        for value in arguments
    ]
    result = int(_libc.syscall(ctypes.c_long(number), *values))
    if result < 0:
        _fail(what)
    return result


def unshare(flags: int) -> None:
    """Give this process namespaces of its own (unshare(2)); raise OSError."""
    if _libc.unshare(flags) < 0:
        _fail("unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespaces ``flags`` of a pidfd, or the one that ``fd`` is (setns(2)); raise OSError."""
    if _libc.setns(fd, flags) < 0:
        _fail("setns")


def clone(flags: int) -> int:
    """Fork into new namespaces and return 0 in the child (clone3(2)); raise OSError.

    The interpreter does not learn of this fork: only a process with one thread may do it, and the child should execute soon.
    """
    arguments = _CloneArgs(flags=flags, exit_signal=_SIGCHLD)
    return _syscall("clone3", _NR_CLONE3, arguments, ctypes.sizeof(arguments))


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system, or change a mount (mount(2)); raise OSError."""
    encoded = [os.fsencode(text) for text in (source, target, kind)]
    if _libc.mount(*encoded, ctypes.c_ulong(flags), data.encode() or None) < 0:
        _fail(target)


def detach(target: str) -> None:
    """Unmount what is at ``target`` with all that is under it, as soon as nobody uses it (umount2(2)); raise OSError."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) < 0:
        _fail(target)


def pivot_root_here() -> None:
    """Make the current directory, a mount point, the root, and drop the old one (pivot_root(2), "pivot_root(".", ".")")."""
    _syscall("pivot_root", _NR_PIVOT_ROOT[os.uname().machine], b".", b".")
    detach(".")
    os.chdir("/")


def clone_tree(path: str, *, read_only: bool) -> int:
    """Return a descriptor of a detached copy of the mounts at and under ``path`` (open_tree(2)); raise OSError.

    Mounts under it are copied always: within a user namespace the kernel refuses to uncover what they cover.
    """
    flags = _OPEN_TREE_CLONE | _CLOEXEC | _AT_RECURSIVE
    tree = _syscall(path, _NR_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)
    if read_only:
        attributes = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
        size = ctypes.sizeof(attributes)
        _syscall(path, _NR_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes, size)
    return tree


def attach_tree(tree: int, target: str) -> None:
    """Mount the detached tree at ``target`` and close its descriptor (move_mount(2)); raise OSError."""
    _syscall(target, _NR_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)


def bind(source: str, target: str, *, read_only: bool = True) -> None:
    """Make ``source`` appear at ``target``, which exists; raise OSError."""
    attach_tree(clone_tree(source, read_only=read_only), target)


def unmounted_tmpfs() -> int:
    """Return a descriptor of the root of a new tmpfs that is mounted nowhere, for its owner only (fsmount(2)); raise OSError.

    It is reached by ``/proc/PID/fd/N`` alone, and is gone with its last descriptor.
    """
    context = _syscall("fsopen", _NR_FSOPEN, b"tmpfs", _FSOPEN_CLOEXEC)
    try:
        _syscall("fsconfig", _NR_FSCONFIG, context, _FSCONFIG_SET_STRING, b"mode", b"0700", 0)
        _syscall("fsconfig", _NR_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall("fsmount", _NR_FSMOUNT, context, _FSOPEN_CLOEXEC, 0)
    finally:
        os.close(context)
