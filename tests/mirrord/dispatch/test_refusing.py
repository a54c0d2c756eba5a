"""Changes of what is remote are refused as on a read-only mount, in the order in which the kernel looks."""

import errno

import pytest

from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD
from mirrord.syscall import CONTINUE, Fail

from .fakes import FakeCall, Stage
from .remote import COLOR, DIRECTORY, FILE, LOCAL, NOWHERE, RemoteWorld
from .test_table import trapped

EROFS = Fail(errno.EROFS)
OPENED = ("fchmod", "fchown", "fsetxattr", "fremovexattr")


@pytest.mark.parametrize("name", OPENED)
def test_what_is_open_is_not_changed(remote: RemoteWorld, name: str) -> None:
    assert remote.decide(name, remote.file, 0o600, 0) == EROFS
    assert remote.decide(name, remote.directory, 0o600, 0) == EROFS
    assert remote.decide(name, remote.local, 0o600, 0) is CONTINUE
    # the kernel has EBADF for what is no more than a place
    assert remote.decide(name, remote.place_of_file, 0o600, 0) is CONTINUE
    with pytest.raises(OSError) as caught:
        remote.decide(name, 999, 0o600, 0)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("name", [*OPENED, "utimensat"])
def test_without_a_remote_file_descriptors_are_not_looked_at(stage: Stage, name: str) -> None:
    assert trapped(stage)[name](FakeCall(999, 0, 0, 0)) is CONTINUE


def test_times_of_what_is_open_are_not_changed(remote: RemoteWorld) -> None:
    assert remote.decide("utimensat", remote.file, 0, 0, 0) == EROFS
    assert remote.decide("futimesat", remote.file, 0, 0) == EROFS
    assert remote.decide("utimensat", remote.local, 0, 0, 0) is CONTINUE
    with pytest.raises(OSError) as caught:
        remote.decide("utimensat", AT_FDCWD, 0, 0, 0)
    assert caught.value.errno == errno.EFAULT


def test_an_empty_path_is_what_is_open(remote: RemoteWorld) -> None:
    for fd in (remote.file, remote.place_of_file, remote.directory):
        assert remote.decide("fchownat", fd, b"", 0, 0, AT_EMPTY_PATH) == EROFS
        assert remote.decide("fchmodat2", fd, b"", 0o600, AT_EMPTY_PATH) == EROFS
        assert remote.decide("fchownat", fd, b"", 0, 0, 0) is CONTINUE, "ENOENT is the kernel's"
    assert remote.decide("fchownat", remote.local, b"", 0, 0, AT_EMPTY_PATH) is CONTINUE
    assert remote.decide("fchownat", AT_FDCWD, b"", 0, 0, AT_EMPTY_PATH) is CONTINUE
    remote.enter(DIRECTORY)
    assert remote.decide("fchownat", AT_FDCWD, b"", 0, 0, AT_EMPTY_PATH) == EROFS


def test_a_path_that_may_be_empty_and_is_not(remote: RemoteWorld) -> None:
    assert remote.decide("fchownat", remote.directory, b"file", 0, 0, AT_EMPTY_PATH) == EROFS
    with pytest.raises(FileNotFoundError):
        remote.decide("fchownat", remote.directory, b"none", 0, 0, AT_EMPTY_PATH)


@pytest.mark.parametrize(
    ("name", "after"),
    [("chmod", (0o600,)), ("truncate", (0,)), ("setxattr", (COLOR, 0, 0, 0)), ("utimes", (0,))],
)
def test_attributes_are_not_changed(remote: RemoteWorld, name: str, after: tuple[int | bytes, ...]) -> None:
    remote.enter(DIRECTORY)
    assert remote.decide(name, b"file", *after) == EROFS
    assert remote.decide(name, b"/proc/self/fd/%d" % remote.file, *after) == EROFS
    assert remote.decide(name, LOCAL, *after) is CONTINUE
    with pytest.raises(FileNotFoundError):
        remote.decide(name, b"none", *after)


def test_nothing_is_made(remote: RemoteWorld) -> None:
    assert remote.decide("mkdirat", remote.directory, b"new/", 0o755) == EROFS
    assert remote.decide("symlinkat", b"x", remote.directory, b"new") == EROFS
    assert remote.decide("mkdirat", remote.directory, b"file", 0o755) == Fail(errno.EEXIST)
    with pytest.raises(FileNotFoundError):
        remote.decide("mkdirat", remote.directory, b"none/new", 0o755)


def test_nothing_is_removed(remote: RemoteWorld) -> None:
    assert remote.decide("unlinkat", remote.directory, b"file", 0) == EROFS
    assert remote.decide("unlinkat", remote.directory, b"none", 0) == EROFS
    with pytest.raises(FileNotFoundError):
        remote.decide("unlinkat", remote.directory, b"none/none", 0)


def test_nothing_is_renamed_from_one_side_to_the_other(remote: RemoteWorld) -> None:
    there, here = (remote.directory, b"file"), (AT_FDCWD, b"/tmp/new")
    assert remote.decide("renameat", *there, remote.directory, b"new") == EROFS
    assert remote.decide("renameat2", *there, *here, 0) == Fail(errno.EXDEV)
    assert remote.decide("renameat", *here, *there) == Fail(errno.EXDEV)
    assert remote.decide("rename", b"/tmp/old", b"/tmp/new") is CONTINUE


def test_nothing_is_linked(remote: RemoteWorld) -> None:
    there, new, here = (remote.directory, b"file"), (remote.directory, b"new"), (AT_FDCWD, b"/tmp/new")
    assert remote.decide("linkat", *there, *new, 0) == EROFS
    assert remote.decide("linkat", *here, *new, 0) == EROFS
    assert remote.decide("linkat", *there, *there, 0) == Fail(errno.EEXIST)
    assert remote.decide("linkat", *there, *here, 0) == Fail(errno.EXDEV)
    assert remote.decide("linkat", remote.file, b"", *here, AT_EMPTY_PATH) == Fail(errno.EXDEV)
    assert remote.decide("link", b"/tmp/old", b"/tmp/new") is CONTINUE
    with pytest.raises(FileNotFoundError):
        remote.decide("linkat", remote.directory, b"none", *new, 0)


def test_absolute_paths_are_written_here(remote: RemoteWorld) -> None:
    """In mode ``read``: rules say that what is written is local."""
    for path in (FILE, NOWHERE):
        assert remote.decide("chmod", path, 0o600) is CONTINUE
        assert remote.decide("mkdir", path, 0o755) is CONTINUE
