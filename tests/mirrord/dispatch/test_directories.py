"""The current directory, and what watches or names files in other ways."""

import errno
import os

import pytest
from mirrord_agent.wire.messages import Access, Failed, Reply, Request

from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD
from mirrord.syscall import CONTINUE, Enter, Fail, Return

from .fakes import Theatre
from .remote import DIRECTORY, FILE, LOCAL, NOWHERE, RemoteWorld


def entered(remote: RemoteWorld, verdict: object) -> bytes | None:
    """Return the remote path of the directory that is entered."""
    assert isinstance(verdict, Enter)
    local = os.readlink(b"/proc/self/fd/%d" % verdict.fd)
    os.close(verdict.fd)
    return remote.stage.world.files.placeholders.remote_path(local)


def test_a_remote_directory_is_entered_by_its_skeleton(remote: RemoteWorld) -> None:
    assert entered(remote, remote.decide("chdir", DIRECTORY)) == DIRECTORY
    remote.enter(b"/srv")
    assert entered(remote, remote.decide("chdir", b"dir")) == DIRECTORY
    assert remote.decide("chdir", b"/usr") is CONTINUE
    assert remote.decide("chdir", b"") is CONTINUE


def test_what_cannot_be_entered_is_not(remote: RemoteWorld) -> None:
    for path, kind in ((NOWHERE, FileNotFoundError), (FILE, NotADirectoryError)):
        with pytest.raises(kind):
            remote.decide("chdir", path)
    usual = remote.stage.agent.answer

    def answer(request: Request) -> Reply | None:
        return Failed(errno=errno.EACCES) if isinstance(request, Access) else usual(request)

    remote.stage.agent.answer = answer
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PermissionError):
        remote.decide("chdir", DIRECTORY)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_mapping_has_moved_is_entered_there(theatre: Theatre) -> None:
    moved = RemoteWorld(theatre, mapping={"^/moved": "/usr"})
    verdict = moved.decide("chdir", b"/moved/bin")
    assert isinstance(verdict, Enter)
    assert os.path.samestat(os.fstat(verdict.fd), os.stat("/usr/bin"))
    os.close(verdict.fd)
    moved.close()


def test_the_current_directory_has_the_targets_path(remote: RemoteWorld) -> None:
    room = remote.call.room(64)
    assert remote.decide("getcwd", room, 64) is CONTINUE
    remote.enter(DIRECTORY)
    size = len(DIRECTORY) + 1
    for enough in (64, size):
        assert remote.decide("getcwd", room, enough) == Return(size, ((room, DIRECTORY + b"\0"),))
    assert remote.decide("getcwd", room, size - 1) == Fail(errno.ERANGE)
    remote.enter(DIRECTORY + b" (deleted)")
    assert remote.decide("getcwd", room, 64) == Fail(errno.ENOENT)


def test_remote_files_are_not_watched(remote: RemoteWorld) -> None:
    assert remote.decide("inotify_add_watch", 3, DIRECTORY, 0xFFF) == Fail(errno.ENOSYS)
    assert remote.decide("inotify_add_watch", 3, FILE, 0xFFF) == Fail(errno.ENOSYS)
    assert remote.decide("inotify_add_watch", 3, LOCAL, 0xFFF) is CONTINUE
    with pytest.raises(FileNotFoundError):
        remote.decide("inotify_add_watch", 3, NOWHERE, 0xFFF)


def test_remote_files_have_no_handles(remote: RemoteWorld) -> None:
    refused = Fail(errno.EOPNOTSUPP)
    assert remote.decide("name_to_handle_at", AT_FDCWD, FILE, 0, 0, 0) == refused
    assert remote.decide("name_to_handle_at", remote.file, b"", 0, 0, AT_EMPTY_PATH) == refused
    assert remote.decide("name_to_handle_at", remote.file, b"", 0, 0, 0) is CONTINUE
    assert remote.decide("name_to_handle_at", AT_FDCWD, LOCAL, 0, 0, 0) is CONTINUE
