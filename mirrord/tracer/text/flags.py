"""Bits and named values, as strace(1) writes them."""

import os
import socket
from collections.abc import Mapping
from typing import Final

Names = Mapping[int, str]

_ACCESS: Final = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR", 3: "O_ACCMODE"}
_OPEN: Final[Names] = {
    0o100: "O_CREAT",
    0o200: "O_EXCL",
    0o400: "O_NOCTTY",
    0o1000: "O_TRUNC",
    0o2000: "O_APPEND",
    0o4000: "O_NONBLOCK",
    0o4010000: "O_SYNC",
    0o10000: "O_DSYNC",
    0o40000: "O_DIRECT",
    0o100000: "O_LARGEFILE",
    0o400000: "O_NOFOLLOW",
    0o1000000: "O_NOATIME",
    0o2000000: "O_CLOEXEC",
    0o10000000: "O_PATH",
    0o20200000: "O_TMPFILE",
    0o200000: "O_DIRECTORY",
    0o20000: "FASYNC",
}
AT: Final[Names] = {
    0x100: "AT_SYMLINK_NOFOLLOW",
    0x400: "AT_SYMLINK_FOLLOW",
    0x800: "AT_NO_AUTOMOUNT",
    0x1000: "AT_EMPTY_PATH",
}
AT_ACCESS: Final[Names] = {**AT, 0x200: "AT_EACCESS"}
AT_UNLINK: Final[Names] = {0x200: "AT_REMOVEDIR"}
_SYNC: Final = {0: "AT_STATX_SYNC_AS_STAT", 0x2000: "AT_STATX_FORCE_SYNC", 0x4000: "AT_STATX_DONT_SYNC"}
STATX: Final[Names] = {
    0xFFF: "STATX_ALL",
    0x7FF: "STATX_BASIC_STATS",
    0x1: "STATX_TYPE",
    0x2: "STATX_MODE",
    0x4: "STATX_NLINK",
    0x8: "STATX_UID",
    0x10: "STATX_GID",
    0x20: "STATX_ATIME",
    0x40: "STATX_MTIME",
    0x80: "STATX_CTIME",
    0x100: "STATX_INO",
    0x200: "STATX_SIZE",
    0x400: "STATX_BLOCKS",
    0x800: "STATX_BTIME",
    0x1000: "STATX_MNT_ID",
}
MESSAGE: Final[Names] = {
    0x1: "MSG_OOB",
    0x2: "MSG_PEEK",
    0x4: "MSG_DONTROUTE",
    0x8: "MSG_CTRUNC",
    0x10: "MSG_PROBE",
    0x20: "MSG_TRUNC",
    0x40: "MSG_DONTWAIT",
    0x80: "MSG_EOR",
    0x100: "MSG_WAITALL",
    0x200: "MSG_FIN",
    0x400: "MSG_SYN",
    0x800: "MSG_CONFIRM",
    0x1000: "MSG_RST",
    0x2000: "MSG_ERRQUEUE",
    0x4000: "MSG_NOSIGNAL",
    0x8000: "MSG_MORE",
    0x10000: "MSG_WAITFORONE",
    0x20000000: "MSG_FASTOPEN",
    0x40000000: "MSG_CMSG_CLOEXEC",
}
RENAME: Final[Names] = {1: "RENAME_NOREPLACE", 2: "RENAME_EXCHANGE", 4: "RENAME_WHITEOUT"}
SOCKET: Final[Names] = {0o4000: "SOCK_NONBLOCK", 0o2000000: "SOCK_CLOEXEC"}
CLONE: Final[Names] = {
    0x20000: "CLONE_NEWNS",
    0x2000000: "CLONE_NEWCGROUP",
    0x4000000: "CLONE_NEWUTS",
    0x8000000: "CLONE_NEWIPC",
    0x10000000: "CLONE_NEWUSER",
    0x20000000: "CLONE_NEWPID",
    0x40000000: "CLONE_NEWNET",
    0x100: "CLONE_VM",
    0x200: "CLONE_FS",
    0x400: "CLONE_FILES",
    0x800: "CLONE_SIGHAND",
    0x4000: "CLONE_VFORK",
    0x10000: "CLONE_THREAD",
    0x40000: "CLONE_SYSVSEM",
    0x80000: "CLONE_SETTLS",
    0x100000: "CLONE_PARENT_SETTID",
    0x200000: "CLONE_CHILD_CLEARTID",
    0x800000: "CLONE_UNTRACED",
    0x1000000: "CLONE_CHILD_SETTID",
    0x100000000: "CLONE_CLEAR_SIGHAND",
}
LEVELS: Final = {socket.SOL_SOCKET: "SOL_SOCKET", socket.SOL_IP: "SOL_IP", socket.SOL_TCP: "SOL_TCP"}
OPTIONS: Final = {socket.SO_ERROR: "SO_ERROR", socket.SO_TYPE: "SO_TYPE"}


def bits(value: int, names: Names, *, none: str = "0") -> str:
    """Return the names of the bits, and what is left as a number."""
    if not value:
        return none
    found = []
    for bit, text in names.items():
        if value & bit == bit:
            found.append(text)
            value &= ~bit
    if value or not found:
        found.append(f"{value:#x}")
    return "|".join(found)


def open_flags(value: int) -> str:
    """Return the flags of an open(2)."""
    text = _ACCESS[value & 3]
    rest = value & ~3
    return f"{text}|{bits(rest, _OPEN)}" if rest else text


def access_mode(value: int) -> str:
    """Return the mode of an access(2)."""
    return bits(value, {4: "R_OK", 2: "W_OK", 1: "X_OK"}, none="F_OK")


def statx_flags(value: int) -> str:
    """Return the flags of a statx(2), of which two bits are a value."""
    text = _SYNC.get(value & 0x6000, f"{value & 0x6000:#x}")
    rest = value & ~0x6000
    return f"{text}|{bits(rest, AT)}" if rest else text


def mode(value: int) -> str:
    """Return permission bits."""
    return f"0{value & 0o7777777:03o}" if value else "000"
