import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mirrord_agent import linux
from mirrord_agent.credentials import Credentials

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change ids")


def in_thread(call: Callable[[], None]) -> None:
    """Run a call on a thread of its own, whose credentials end with it."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_openat2_stays_in_the_root(tmp_path: Path) -> None:
    (tmp_path / "inside").write_text("inside")
    (tmp_path / "absolute").symlink_to("/inside")
    (tmp_path / "upward").symlink_to("../../../../inside")
    root = os.open(tmp_path, os.O_PATH)
    try:
        for path in (b"/inside", b"inside", b"/absolute", b"/upward", b"/../../inside"):
            with open(linux.openat2(root, path, os.O_RDONLY, resolve=linux.RESOLVE_IN_ROOT)) as file:
                assert not os.get_inheritable(file.fileno())
                assert file.read() == "inside"
        with pytest.raises(FileNotFoundError):
            linux.openat2(root, b"/etc/passwd", os.O_RDONLY, resolve=linux.RESOLVE_IN_ROOT)
    finally:
        os.close(root)


def test_statx_says_what_stat_does(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 5000)
    os.utime(file, ns=(-1, 2_000_000_000_123_456_789))
    for path in (file, tmp_path, Path("/dev/null"), Path("/dev/zero")):
        found = linux.statx(-100, os.fsencode(path), 0)
        known = path.stat()
        assert (found.dev, found.ino, found.mode, found.nlink) == (
            known.st_dev,
            known.st_ino,
            known.st_mode,
            known.st_nlink,
        )
        assert (found.uid, found.gid, found.rdev, found.size) == (
            known.st_uid,
            known.st_gid,
            known.st_rdev,
            known.st_size,
        )
        assert (found.blksize, found.blocks) == (known.st_blksize, known.st_blocks)
        assert (found.atime_ns, found.mtime_ns, found.ctime_ns) == (
            known.st_atime_ns,
            known.st_mtime_ns,
            known.st_ctime_ns,
        )
    assert found.mount_id


def test_a_link_is_not_followed_when_asked_so(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    assert stat.S_ISLNK(linux.statx(-100, os.fsencode(link), linux.AT_SYMLINK_NOFOLLOW).mode)
    with pytest.raises(FileNotFoundError):
        linux.statx(-100, os.fsencode(link), 0)


def test_an_errno_is_told() -> None:
    with pytest.raises(OSError) as caught:
        linux.faccessat2(-1, b"relative", os.R_OK, 0)
    assert caught.value.errno == errno.EBADF


@needs_root
def test_only_the_thread_changes() -> None:
    def become() -> None:
        linux.set_thread_groups([7, 8])
        linux.set_thread_gids(11, 12, 13)
        linux.set_thread_fs_gid(13)
        linux.set_thread_uids(21, 22, 23)
        linux.set_thread_fs_uid(23)
        linux.set_thread_capabilities(effective=0b10, permitted=0b110)
        mine = Credentials.of_this_thread()
        assert mine.uids == (21, 22, 23, 23)
        assert mine.gids == (11, 12, 13, 13)
        assert mine.groups == {7, 8}
        assert (mine.effective, mine.permitted) == (0b10, 0b110)

    before = Credentials.of_this_thread()
    in_thread(become)
    assert Credentials.of_this_thread() == before


@needs_root
def test_file_system_ids_that_are_not_allowed_are_noticed() -> None:
    def become() -> None:
        linux.set_thread_gids(11, 11, 11)
        linux.set_thread_uids(21, 21, 21)
        linux.set_thread_capabilities(effective=0, permitted=0)
        with pytest.raises(PermissionError, match="setfsgid 0 is not allowed"):
            linux.set_thread_fs_gid(0)
        with pytest.raises(PermissionError, match="setfsuid 0 is not allowed"):
            linux.set_thread_fs_uid(0)

    in_thread(become)
