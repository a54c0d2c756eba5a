"""``struct stat`` and ``struct statx`` as the program expects them (stat(2), statx(2))."""

import os
import struct
from typing import Final

from mirrord_agent.wire.messages import Attributes, FileSystem
from mirrord_seccomp.syscalls import Arch, current_arch

from mirrord.link.placeholders import Identity

_NS: Final = 1_000_000_000
# arch/x86/include/uapi/asm/stat.h: dev ino nlink mode uid gid pad rdev size blksize blocks, three times, 3
# unused longs
_STAT_X86_64: Final = struct.Struct("=QQQIII4xQqqq6q24x")
# include/uapi/asm-generic/stat.h: dev ino mode nlink uid gid rdev pad size blksize pad blocks, three times, 2
# unused ints
_STAT_GENERIC: Final = struct.Struct("=QQIIIIQ8xqi4xq6q8x")
# include/uapi/linux/stat.h
_STATX: Final = struct.Struct("=IIQIIIH2xQQQQ" + "qI4x" * 4 + "IIIIQ104x")
_STATFS: Final = struct.Struct("=qqQQQQQiiqqq32x")

_BASIC: Final = 0x7FF
_BTIME: Final = 0x800
_MNT_ID: Final = 0x1000
_X86_64: Final = current_arch() is Arch.X86_64


def pack_stat(attributes: Attributes, identity: Identity) -> bytes:
    """Return a ``struct stat`` of this machine's architecture."""
    a = attributes
    times = (*divmod(a.atime_ns, _NS), *divmod(a.mtime_ns, _NS), *divmod(a.ctime_ns, _NS))
    if _X86_64:
        return _STAT_X86_64.pack(
            identity.dev,
            identity.ino,
            a.nlink,
            a.mode,
            a.uid,
            a.gid,
            a.rdev,
            a.size,
            a.blksize,
            a.blocks,
            *times,
        )
    return _STAT_GENERIC.pack(
        identity.dev, identity.ino, a.mode, a.nlink, a.uid, a.gid, a.rdev, a.size, a.blksize, a.blocks, *times
    )


def pack_statx(attributes: Attributes, identity: Identity) -> bytes:
    """Return a ``struct statx`` with everything that the target's kernel gave."""
    a = attributes
    mask = _BASIC | (_BTIME if a.btime_ns is not None else 0) | (_MNT_ID if a.mount_id is not None else 0)
    times = (a.atime_ns, a.btime_ns or 0, a.ctime_ns, a.mtime_ns)
    return _STATX.pack(
        mask,
        a.blksize,
        a.flags,
        a.nlink,
        a.uid,
        a.gid,
        a.mode,
        identity.ino,
        a.size,
        a.blocks,
        a.flags_known,
        *(part for time in times for part in divmod(time, _NS)),
        os.major(a.rdev),
        os.minor(a.rdev),
        os.major(identity.dev),
        os.minor(identity.dev),
        a.mount_id or 0,
    )


def pack_statfs(found: FileSystem) -> bytes:
    """Return a ``struct statfs`` of 64-bit architectures (include/uapi/asm-generic/statfs.h)."""
    f = found
    return _STATFS.pack(
        f.kind,
        f.bsize,
        f.blocks,
        f.bfree,
        f.bavail,
        f.files,
        f.ffree,
        *f.fsid,
        f.namelen,
        f.frsize,
        f.flags,
    )


def local_attributes(path: bytes, *, follow: bool) -> tuple[Attributes, Identity]:
    """Return what this machine says of a file; raise OSError."""
    status = os.stat(path, follow_symlinks=follow)
    attributes = Attributes(
        dev=status.st_dev,
        ino=status.st_ino,
        mode=status.st_mode,
        nlink=status.st_nlink,
        uid=status.st_uid,
        gid=status.st_gid,
        rdev=status.st_rdev,
        size=status.st_size,
        blksize=status.st_blksize,
        blocks=status.st_blocks,
        atime_ns=status.st_atime_ns,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
    )
    return attributes, Identity(status.st_dev, status.st_ino)
