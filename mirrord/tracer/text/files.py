"""What is known of files, as strace(1) writes it."""

import os
import stat
import struct
from typing import Final

from mirrord_seccomp.syscalls import Arch, current_arch

from mirrord.tracer.text.flags import STATX, bits, mode, open_flags
from mirrord.tracer.text.memory import quoted

_STAT_MODE, _STAT_RDEV, _STAT_SIZE = (24, 40, 48) if current_arch() is Arch.X86_64 else (16, 32, 48)
_STATX: Final = struct.Struct("=I4xQ12xH10xQ")
"""mask; attributes; mode; size (include/uapi/linux/stat.h)."""
_HOW: Final = struct.Struct("=QQQ")
_RESOLVE: Final = {
    1: "RESOLVE_NO_XDEV",
    2: "RESOLVE_NO_MAGICLINKS",
    4: "RESOLVE_NO_SYMLINKS",
    8: "RESOLVE_BENEATH",
    16: "RESOLVE_IN_ROOT",
    32: "RESOLVE_CACHED",
}
_TYPES: Final = {
    stat.S_IFREG: "S_IFREG",
    stat.S_IFDIR: "S_IFDIR",
    stat.S_IFLNK: "S_IFLNK",
    stat.S_IFCHR: "S_IFCHR",
    stat.S_IFBLK: "S_IFBLK",
    stat.S_IFIFO: "S_IFIFO",
    stat.S_IFSOCK: "S_IFSOCK",
}
_SPECIAL: Final = ((stat.S_ISUID, "S_ISUID"), (stat.S_ISGID, "S_ISGID"), (stat.S_ISVTX, "S_ISVTX"))
_UTS_FIELD: Final = 65


def stat_(data: bytes) -> str:
    """Return a ``struct stat`` by its mode and size."""
    st_mode = int.from_bytes(data[_STAT_MODE : _STAT_MODE + 4], "little")
    if stat.S_ISCHR(st_mode) or stat.S_ISBLK(st_mode):
        device = int.from_bytes(data[_STAT_RDEV : _STAT_RDEV + 8], "little")
        numbers = f"makedev({os.major(device):#x}, {os.minor(device):#x})"
        return f"{{st_mode={file_mode(st_mode)}, st_rdev={numbers}, ...}}"
    size = int.from_bytes(data[_STAT_SIZE : _STAT_SIZE + 8], "little")
    return f"{{st_mode={file_mode(st_mode)}, st_size={size}, ...}}"


def statx(data: bytes) -> str:
    """Return a ``struct statx`` by its mode and size."""
    mask, attributes, st_mode, size = _STATX.unpack_from(data)
    shown = bits(attributes, {}, none="0")
    return (
        f"{{stx_mask={bits(mask, STATX)}, stx_attributes={shown}, stx_mode={file_mode(st_mode)}, "
        f"stx_size={size}, ...}}"
    )


def file_mode(value: int) -> str:
    """Return type and permissions of a file."""
    kind = _TYPES.get(stat.S_IFMT(value), f"{stat.S_IFMT(value):#o}")
    special = "".join(f"|{name}" for bit, name in _SPECIAL if value & bit)
    return f"{kind}{special}|{mode(value & 0o777)}"


def how(data: bytes) -> str:
    """Return the ``struct open_how`` of an openat2(2)."""
    flags, permissions, resolve = _HOW.unpack(data[: _HOW.size])
    allowed = f", mode={mode(permissions)}" if permissions else ""
    return f"{{flags={open_flags(flags)}{allowed}, resolve={bits(resolve, _RESOLVE)}}}"


def utsname(data: bytes) -> str:
    """Return a ``struct utsname`` by its first two fields."""
    system, node = (data[at : at + _UTS_FIELD].partition(b"\0")[0] for at in (0, _UTS_FIELD))
    return f"{{sysname={quoted(system)}, nodename={quoted(node)}, ...}}"
