"""The system calls on namespaces, mounts and capabilities that Python 3.11 has no functions for.

Every function raises OSError with the kernel's errno. See namespaces(7), mount_namespaces(7),
capabilities(7).
"""

import ctypes
import os
import platform
import struct
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
_MNT_DETACH: Final = 2

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_ATTR_RDONLY_NOSUID: Final = 3
_FSCONFIG_CMD_CREATE: Final = 6

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_CAPBSET_DROP: Final = 24
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522

_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}[platform.machine()]
# These have the same number on every architecture, as all calls since Linux 5.1.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(number: int, *arguments: int | bytes | None) -> int:
    converted = [
        ctypes.c_long(item) if isinstance(item, int) else ctypes.c_char_p(item) for item in arguments
    ]
    return _check(_libc.syscall(ctypes.c_long(number), *converted))


def _prctl(option: int, *arguments: int) -> None:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    _check(_libc.prctl(option, *(ctypes.c_ulong(value) for value in padded)))


def unshare(flags: int) -> None:
    """Move this process into new namespaces of the kinds in ``flags``."""
    _check(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """Move this process (its children, for a PID namespace) into the namespace that ``fd`` refers to."""
    _check(_libc.setns(fd, kind))


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """Mount as mount(2) does."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    options = None if data is None else data.encode()
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), options))


def detach(target: str) -> None:
    """Unmount ``target`` and all below it now; what is still open of it stays usable."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH))


def change_root(path: str) -> None:
    """Make the mount at ``path`` the root of this mount namespace and let go of the old one."""
    os.chdir(path)
    # pivot_root(2), "pivot_root(".", ".")": the old root ends up stacked on the new one.
    _syscall(_PIVOT_ROOT, b".", b".")
    detach(".")
    os.chdir("/")


def clone_tree(path: str) -> int:
    """Return a descriptor of a detached copy of the mounts at and below ``path``."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    return _syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def attach_tree(fd: int, path: str) -> None:
    """Mount the detached tree ``fd`` at ``path``, and close ``fd``."""
    _syscall(_MOVE_MOUNT, fd, b"", _AT_FDCWD, os.fsencode(path), _MOVE_MOUNT_F_EMPTY_PATH)
    os.close(fd)


def make_read_only(fd: int) -> None:
    """Let nothing be written to, or gain privileges from, a tree of mounts (Linux 5.12)."""
    attributes = ctypes.create_string_buffer(struct.pack("<QQQQ", _ATTR_RDONLY_NOSUID, 0, 0, 0), 32)
    _syscall(_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, ctypes.addressof(attributes), 32)


def floating_tmpfs() -> int:
    """Return a directory on a new tmpfs that is mounted nowhere; it lasts as long as the descriptor."""
    context = _syscall(_FSOPEN, b"tmpfs", 1)
    try:
        _syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall(_FSMOUNT, context, 1, MS_NOSUID | MS_NODEV)
    finally:
        os.close(context)


def set_hostname(name: str) -> None:
    """Name this UTS namespace."""
    encoded = os.fsencode(name)
    _check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))))


def die_with_parent(signal: int) -> None:
    """Have ``signal`` sent to this process when the thread that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def be_inspectable() -> None:
    """Let processes of the same user look at this one in /proc; gaining capabilities ends that."""
    _prctl(_PR_SET_DUMPABLE, 1)


def adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """Set the name, of at most 15 bytes, that ps shows."""
    buffer = ctypes.create_string_buffer(os.fsencode(name)[:15])
    _prctl(_PR_SET_NAME, ctypes.addressof(buffer))


def _last_capability() -> int:
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def _set_capabilities(value: int, *, inheritable: int) -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    halves = [(mask & 0xFFFFFFFF, mask >> 32) for mask in (value, value, inheritable)]
    data = struct.pack("=6I", *(half[0] for half in halves), *(half[1] for half in halves))
    _check(_libc.capset(header, ctypes.create_string_buffer(data, len(data))))


def keep_capabilities() -> None:
    """Let the programs that this process executes have all its capabilities, although it is not uid 0."""
    last = _last_capability()
    everything = (1 << (last + 1)) - 1
    _set_capabilities(everything, inheritable=everything)
    for capability in range(last + 1):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def drop_capabilities() -> None:
    """Give up every capability, for good; needs CAP_SETPCAP."""
    for capability in range(_last_capability() + 1):
        _prctl(_PR_CAPBSET_DROP, capability)
    # This empties the ambient set too: it never exceeds the inheritable one.
    _set_capabilities(0, inheritable=0)
