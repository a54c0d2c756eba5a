"""System calls that Python's library lacks, or that glibc would make for every thread where one is meant.

Structures and numbers are from the kernel's UAPI headers (``linux/stat.h``, ``linux/openat2.h``,
``linux/capability.h``).
"""

import ctypes
import os
import platform
import struct
from collections.abc import Sequence
from typing import Final

CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EACCESS: Final = 0x200
AT_EMPTY_PATH: Final = 0x1000
_STATX_BASIC: Final = 0x7FF
_STATX_BTIME: Final = 0x800
_STATX_MNT_ID: Final = 0x1000
_CAPABILITY_VERSION_3: Final = 0x20080522
_PR_SET_KEEPCAPS: Final = 8
_KEEP: Final = -1

_NUMBERS: Final = {
    "x86_64": {
        "capset": 126,
        "prctl": 157,
        "setfsgid": 123,
        "setfsuid": 122,
        "setgroups": 116,
        "setns": 308,
        "setresgid": 119,
        "setresuid": 117,
        "fstatfs": 138,
        "statx": 332,
    },
    "aarch64": {
        "capset": 91,
        "prctl": 167,
        "setfsgid": 152,
        "setfsuid": 151,
        "setgroups": 159,
        "setns": 268,
        "setresgid": 149,
        "setresuid": 147,
        "fstatfs": 44,
        "statx": 291,
    },
}[platform.machine()]
_OPENAT2: Final = 437
_FACCESSAT2: Final = 439
"""The same on every architecture, as all numbers from 424 on."""

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_OPEN_HOW: Final = struct.Struct("=QQQ")
_STATX_HEAD: Final = struct.Struct("=IIQIIIHxxQQQQ")
"""mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, attributes_mask"""
_STATX_TIMES: Final = struct.Struct("=qIiqIiqIiqIi")
"""Seconds, nanoseconds and padding of atime, btime, ctime and mtime."""
_STATX_TAIL: Final = struct.Struct("=IIIIQ")
"""rdev and dev, major and minor each, and mnt_id."""
_STATX_SIZE: Final = 256


def _call(number: int, *args: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call; raise OSError."""
    converted = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result: int = _libc.syscall(ctypes.c_long(number), *converted)
    if result < 0:
        raise _failed()
    return result


def _failed() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def openat2(directory: int, path: bytes, flags: int, *, resolve: int) -> int:
    """Open a path with rules for its resolution; return a close-on-exec descriptor (openat2(2))."""
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, resolve)
    return _call(_OPENAT2, directory, path, how, len(how))


def faccessat2(directory: int, path: bytes, mode: int, flags: int) -> None:
    """Check access; raise OSError where there is none (faccessat2(2))."""
    _call(_FACCESSAT2, directory, path, mode, flags)


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into a namespace (setns(2))."""
    _call(_NUMBERS["setns"], fd, kind)


class Statx:
    """What statx(2) tells; times are nanoseconds, what the file system does not know is None."""

    __slots__ = (
        "atime_ns",
        "blksize",
        "blocks",
        "btime_ns",
        "ctime_ns",
        "dev",
        "flags",
        "flags_known",
        "gid",
        "ino",
        "mode",
        "mount_id",
        "mtime_ns",
        "nlink",
        "rdev",
        "size",
        "uid",
    )

    def __init__(self, buffer: bytes) -> None:
        head = _STATX_HEAD.unpack_from(buffer)
        mask, self.blksize, self.flags, self.nlink, self.uid, self.gid, self.mode = head[:7]
        self.ino, self.size, self.blocks, self.flags_known = head[7:]
        times = _STATX_TIMES.unpack_from(buffer, _STATX_HEAD.size)
        self.atime_ns, btime, self.ctime_ns, self.mtime_ns = (
            times[at] * 1_000_000_000 + times[at + 1] for at in range(0, 12, 3)
        )
        self.btime_ns = btime if mask & _STATX_BTIME else None
        rdev_major, rdev_minor, major, minor, mount_id = _STATX_TAIL.unpack_from(
            buffer, _STATX_HEAD.size + _STATX_TIMES.size
        )
        self.rdev = os.makedev(rdev_major, rdev_minor)
        self.dev = os.makedev(major, minor)
        self.mount_id = mount_id if mask & _STATX_MNT_ID else None


def statx(directory: int, path: bytes, flags: int) -> Statx:
    """Return the attributes of a file (statx(2))."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    wanted = _STATX_BASIC | _STATX_BTIME | _STATX_MNT_ID
    _call(_NUMBERS["statx"], directory, path, flags, wanted, buffer)
    return Statx(buffer.raw)


_STATFS: Final = struct.Struct("=qqQQQQQiiqqq32x")
"""``struct statfs`` of 64-bit architectures (include/uapi/asm-generic/statfs.h)."""


def fstatfs(fd: int) -> tuple[int, ...]:
    """Return type, bsize, blocks, bfree, bavail, files, ffree, both halves of fsid, namelen, frsize and flags
    of the file system that a descriptor is on (statfs(2)).
    """
    buffer = ctypes.create_string_buffer(_STATFS.size)
    _call(_NUMBERS["fstatfs"], fd, buffer)
    return _STATFS.unpack(buffer.raw)


def inotify_init() -> int:
    """Return a new inotify instance, non-blocking and close-on-exec (inotify(7))."""
    fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise _failed()
    return fd


def inotify_add_watch(instance: int, path: bytes, mask: int) -> int:
    """Watch an inode; return its number in the instance (inotify_add_watch(2))."""
    number: int = _libc.inotify_add_watch(instance, path, ctypes.c_uint32(mask))
    if number < 0:
        raise _failed()
    return number


def inotify_rm_watch(instance: int, number: int) -> None:
    """Watch an inode no more (inotify_rm_watch(2))."""
    if _libc.inotify_rm_watch(instance, number) < 0:
        raise _failed()


# The following change the calling thread only: glibc's wrappers change all threads (nptl(7)).


def set_thread_groups(groups: Sequence[int]) -> None:
    """Set the supplementary groups (setgroups(2))."""
    _call(_NUMBERS["setgroups"], len(groups), struct.pack(f"={len(groups)}I", *groups))


def set_thread_gids(real: int, effective: int, saved: int) -> None:
    """Set the group ids (setresgid(2))."""
    _call(_NUMBERS["setresgid"], real, effective, saved)


def set_thread_uids(real: int, effective: int, saved: int) -> None:
    """Set the user ids and keep the permitted capabilities (setresuid(2), PR_SET_KEEPCAPS in prctl(2))."""
    _call(_NUMBERS["prctl"], _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    _call(_NUMBERS["setresuid"], real, effective, saved)


def set_thread_fs_gid(gid: int) -> None:
    """Set the group that decides on files; raise PermissionError, which the call hides (setfsgid(2))."""
    _set_and_check("setfsgid", gid)


def set_thread_fs_uid(uid: int) -> None:
    """Set the user that decides on files; raise PermissionError, which the call hides (setfsuid(2))."""
    _set_and_check("setfsuid", uid)


def _set_and_check(name: str, value: int) -> None:
    _call(_NUMBERS[name], value)
    # a call that cannot succeed returns the present value
    if _call(_NUMBERS[name], _KEEP) != value:
        raise PermissionError(f"{name} {value} is not allowed")


def set_thread_capabilities(*, effective: int, permitted: int) -> None:
    """Set the capabilities; the inheritable ones become none (capset(2))."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = 0xFFFFFFFF, 32
    data = struct.pack("=6I", effective & low, permitted & low, 0, effective >> high, permitted >> high, 0)
    _call(_NUMBERS["capset"], header, data)
