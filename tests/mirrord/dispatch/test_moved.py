"""What a mapping has moved is changed under its new name, by the call that the program made."""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirrord_agent import linux

from mirrord.dispatch.moved import umask
from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD
from mirrord.syscall import CONTINUE, SUCCESS, Fail, Fault, GiveFd, Return

from .fakes import Theatre
from .remote import FILE, LOCAL, RemoteWorld


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The directory that ``/moved`` leads to."""
    made = tmp_path / "place"
    made.mkdir()
    (made / "old").write_text("hello")
    return made


@pytest.fixture
def moved(theatre: Theatre, place: Path) -> Iterator[RemoteWorld]:
    made = RemoteWorld(theatre, mapping={"^/moved": str(place)})
    yield made
    made.close()


def test_it_is_made_there(moved: RemoteWorld, place: Path) -> None:
    assert moved.decide("mkdir", b"/moved/a", 0o755) == SUCCESS
    assert moved.decide("mkdirat", AT_FDCWD, b"/moved/a/b", 0o700) == SUCCESS
    assert moved.decide("mknod", b"/moved/pipe", stat.S_IFIFO | 0o600, 0) == SUCCESS
    assert moved.decide("symlinkat", b"../x", AT_FDCWD, b"/moved/link") == SUCCESS
    assert (place / "a" / "b").is_dir()
    assert (place / "pipe").is_fifo()
    assert os.readlink(place / "link") == "../x"
    with pytest.raises(FileExistsError):
        moved.decide("mkdir", b"/moved/a", 0o755)


def test_it_is_removed_there(moved: RemoteWorld, place: Path) -> None:
    (place / "a").mkdir()
    assert moved.decide("unlink", b"/moved/old") == SUCCESS
    assert moved.decide("unlinkat", AT_FDCWD, b"/moved/a", 0x200) == SUCCESS
    assert list(place.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        moved.decide("rmdir", b"/moved/a")


def test_it_is_renamed_from_and_to_there(moved: RemoteWorld, place: Path, tmp_path: Path) -> None:
    outside = bytes(tmp_path / "new")
    assert moved.decide("rename", b"/moved/old", outside) == SUCCESS
    assert moved.decide("renameat2", AT_FDCWD, outside, AT_FDCWD, b"/moved/back", 1) == SUCCESS
    assert (place / "back").read_text() == "hello"
    assert moved.decide("renameat", AT_FDCWD, b"/moved/back", moved.directory, b"x") == Fail(errno.EXDEV)


def test_the_other_name_is_seen_as_the_program_does(moved: RemoteWorld, place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    directory = os.open(tmp_path, os.O_RDONLY)
    moved.call.paths[directory] = bytes(tmp_path)
    assert moved.decide("linkat", directory, b"mine", AT_FDCWD, b"/moved/new", 0) == SUCCESS
    os.close(directory)
    opened = os.open(place / "new", os.O_RDONLY)
    moved.call.paths[opened] = bytes(place / "new")
    new = (AT_FDCWD, b"/moved/by-fd")
    assert moved.decide("linkat", opened, b"", *new, AT_EMPTY_PATH) == SUCCESS
    link = b"/proc/self/fd/%d" % opened
    assert moved.decide("linkat", AT_FDCWD, link, AT_FDCWD, b"/moved/by-link", 0x400) == SUCCESS
    os.close(opened)
    assert os.stat(tmp_path / "mine").st_nlink == 4


def test_its_attributes_are_changed_there(moved: RemoteWorld, place: Path) -> None:
    times = struct.pack("=4q", 10, 1, 20, 2)
    assert moved.decide("utimensat", AT_FDCWD, b"/moved/old", moved.call.place(times), 0) == SUCCESS
    assert (place / "old").stat().st_mtime_ns == 20_000_000_002
    assert moved.decide("utimes", b"/moved/old", 0) == SUCCESS
    assert (place / "old").stat().st_mtime > 1000
    assert moved.decide("chmod", b"/moved/old", 0o604) == SUCCESS
    assert moved.decide("truncate", b"/moved/old", 2) == SUCCESS
    assert stat.S_IMODE((place / "old").stat().st_mode) == 0o604
    assert (place / "old").read_text() == "he"
    with pytest.raises(Fault):
        moved.decide("utimensat", AT_FDCWD, b"/moved/old", 8, 0)


def test_its_extended_attributes_are_changed_there(moved: RemoteWorld, place: Path) -> None:
    try:
        os.setxattr(place / "old", "user.other", b"")
    except OSError:
        pytest.skip("this file system has no extended attributes of users")
    value = moved.call.place(b"blue")
    assert moved.decide("setxattr", b"/moved/old", b"user.color", value, 4, 0) == SUCCESS
    assert os.getxattr(place / "old", "user.color") == b"blue"
    assert moved.decide("removexattr", b"/moved/old", b"user.color") == SUCCESS
    assert os.listxattr(place / "old") == ["user.other"]


def test_its_file_system_is_the_one_there(moved: RemoteWorld, place: Path) -> None:
    verdict = moved.decide("statfs", b"/moved", moved.call.room(120))
    assert isinstance(verdict, Return)
    ((_, found),) = verdict.writes
    assert struct.unpack_from("=q", found, 8) == (os.statvfs(place).f_bsize,)


def test_it_is_watched_there(moved: RemoteWorld, place: Path) -> None:
    instance = linux.inotify_init()
    moved.call.descriptors[9] = instance
    assert isinstance(moved.decide("inotify_add_watch", 9, b"/moved", 0x100), Return)
    (place / "new").touch()
    assert b"new" in os.read(instance, 4096)
    os.close(instance)


def test_the_programs_umask_holds(moved: RemoteWorld, place: Path) -> None:
    before = os.umask(0o027)
    try:
        assert umask(moved.call) == 0o027
        assert moved.decide("mkdir", b"/moved/a", 0o777) == SUCCESS
        verdict = moved.decide("open", b"/moved/f", os.O_WRONLY | os.O_CREAT, 0o666)
    finally:
        os.umask(before)
    assert isinstance(verdict, GiveFd)
    os.close(verdict.fd)
    assert stat.S_IMODE((place / "a").stat().st_mode) == 0o750
    assert stat.S_IMODE((place / "f").stat().st_mode) == 0o640


def test_what_is_moved_by_nothing_is_left_to_the_kernel(moved: RemoteWorld) -> None:
    assert moved.decide("rename", LOCAL, b"/tmp/x") is CONTINUE
    assert moved.decide("unlink", FILE) is CONTINUE
