"""The structures are compared byte by byte with what this machine's kernel writes."""

import ctypes
import os
import socket
from pathlib import Path

import pytest
from mirrord_agent.wire.messages import Attributes
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.dispatch.stat import local_attributes, pack_stat, pack_statx
from mirrord.link.placeholders import Identity

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
BASIC_BTIME_MNT_ID = 0x1FFF
STAT_SIZE = 144
STATX_SIZE = 256
KINDS = ["file", "directory", "link", "socket", "fifo", "device"]


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    made = tmp_path / "it"
    match request.param:
        case "file":
            made.write_bytes(b"x" * 12_345)
            made.chmod(0o4751)
            os.utime(made, ns=(1_234_567_890_123_456_789, -1_500_000_001))
            os.link(made, tmp_path / "other")
        case "directory":
            made.mkdir()
        case "link":
            made.symlink_to("nowhere")
        case "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(str(made))
        case "fifo":
            os.mkfifo(made)
        case "device":
            made = Path(os.devnull)
    return os.fsencode(made)


def system_call(name: str, *arguments: object) -> None:
    nr = number(name, current_arch())
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(nr, *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def kernel_stat(path: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(STAT_SIZE)
    system_call("newfstatat", AT_FDCWD, path, buffer, AT_SYMLINK_NOFOLLOW)
    return buffer.raw


def kernel_statx(path: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(STATX_SIZE)
    system_call("statx", AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, BASIC_BTIME_MNT_ID, buffer)
    return buffer.raw


def test_stat_is_the_kernels(path: bytes) -> None:
    assert pack_stat(*local_attributes(path, follow=False)) == kernel_stat(path)


def full_attributes(path: bytes) -> tuple[Attributes, Identity]:
    """Return what the agent would tell of the file, which asks statx(2)."""
    raw = kernel_statx(path)
    attributes, identity = local_attributes(path, follow=False)
    born = int.from_bytes(raw[80:88], "little", signed=True) * 10**9 + int.from_bytes(raw[88:92], "little")
    has_birth = int.from_bytes(raw[:4], "little") & 0x800
    return attributes.model_copy(
        update={
            "btime_ns": born if has_birth else None,
            "mount_id": int.from_bytes(raw[144:152], "little"),
            "flags": int.from_bytes(raw[8:16], "little"),
            "flags_known": int.from_bytes(raw[56:64], "little"),
        }
    ), identity


def test_statx_is_the_kernels(path: bytes) -> None:
    """But for what only a direct I/O user asks for and what we were not told."""
    packed, real = pack_statx(*full_attributes(path)), bytearray(kernel_statx(path))
    real[152:] = bytes(STATX_SIZE - 152)
    assert packed == real


def test_what_the_target_does_not_tell_is_not_claimed(tmp_path: Path) -> None:
    packed = pack_statx(*local_attributes(os.fsencode(tmp_path), follow=True))
    assert int.from_bytes(packed[:4], "little") == 0x7FF
    assert packed[80:96] == bytes(16)
    assert packed[144:152] == bytes(8)


def test_the_identity_is_the_placeholders(tmp_path: Path) -> None:
    attributes, _ = local_attributes(os.fsencode(tmp_path), follow=True)
    packed = pack_stat(attributes, Identity(os.makedev(8, 300), 2**40))
    assert packed[:16] == os.makedev(8, 300).to_bytes(8, "little") + (2**40).to_bytes(8, "little")
    extended = pack_statx(attributes, Identity(os.makedev(8, 300), 2**40))
    assert extended[136:144] == (8).to_bytes(4, "little") + (300).to_bytes(4, "little")


@pytest.mark.parametrize("follow", [True, False])
def test_a_link_is_followed_if_asked(tmp_path: Path, follow: bool) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    _, identity = local_attributes(os.fsencode(tmp_path / "link"), follow=follow)
    assert (identity.ino == tmp_path.stat().st_ino) is follow


def test_a_missing_file_is_enoent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        local_attributes(os.fsencode(tmp_path / "missing"), follow=True)


@pytest.mark.parametrize("field", ["nlink", "blksize", "uid", "gid"])
def test_extreme_numbers_of_a_target_are_packed(tmp_path: Path, field: str) -> None:
    attributes, identity = local_attributes(os.fsencode(tmp_path), follow=True)
    extreme = attributes.model_copy(update={field: 2**32 - 1, "size": 2**63 - 1})
    assert len(pack_stat(extreme, identity)) == STAT_SIZE
    assert len(pack_statx(extreme, identity)) == STATX_SIZE
