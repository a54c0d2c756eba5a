"""Looking at remote files: by what is known, else by what the target says; what is open is the kernel's."""

import errno
import os
import stat
from typing import Final

import pytest
from mirrord_agent.wire.messages import Access

from mirrord.dispatch.row import AT_EMPTY_PATH, AT_FDCWD
from mirrord.dispatch.stat import pack_statfs
from mirrord.syscall import CONTINUE, SUCCESS, Fail, Return, Verdict

from .fakes import Theatre
from .remote import FILE, LINK, LOCAL, NOWHERE, SYSTEM, RemoteWorld

NOFOLLOW: Final = 0x100
EACCESS: Final = 0x200
MODE_AT: Final = 24
"""Of ``st_mode`` in a ``struct stat`` of x86_64."""


def looked_at(verdict: Verdict) -> int:
    """Return the mode that was put into the program's memory."""
    assert isinstance(verdict, Return)
    ((_, data),) = verdict.writes
    return int.from_bytes(data[MODE_AT : MODE_AT + 4], "little")


@pytest.mark.parametrize("name", ["stat", "lstat"])
def test_a_path_is_looked_at_in_the_target(remote: RemoteWorld, name: str) -> None:
    assert looked_at(remote.decide(name, FILE, remote.call.room(256))) == remote.files[FILE].mode
    assert remote.decide(name, LOCAL, 0) is CONTINUE
    with pytest.raises(FileNotFoundError):
        remote.decide(name, NOWHERE, 0)


@pytest.mark.parametrize("name", ["newfstatat", "statx"])
@pytest.mark.parametrize("flags", [0, AT_EMPTY_PATH, AT_EMPTY_PATH | NOFOLLOW])
def test_a_path_is_seen_whether_or_not_it_may_be_empty(remote: RemoteWorld, name: str, flags: int) -> None:
    room = remote.call.room(256)

    def decide(directory: int, path: bytes | int) -> Verdict:
        after = (room, flags) if name == "newfstatat" else (flags, 0xFFF, room)
        return remote.decide(name, directory, path, *after)

    for directory, path in ((remote.directory, b"file"), (AT_FDCWD, FILE), (remote.local, FILE)):
        assert isinstance(decide(directory, path), Return)
    with pytest.raises(FileNotFoundError):
        decide(remote.directory, b"none")
    for directory in (remote.directory, remote.file, remote.link, remote.local, AT_FDCWD):
        assert decide(directory, b"") is CONTINUE
    if flags:
        assert decide(remote.file, 0) is CONTINUE


def test_flags_that_the_kernel_refuses_are_left_to_it(remote: RemoteWorld) -> None:
    room = remote.call.room(256)
    assert remote.decide("newfstatat", AT_FDCWD, FILE, room, 0x8000000) is CONTINUE
    assert remote.decide("statx", AT_FDCWD, FILE, 0, 0x80000000, room) is CONTINUE
    assert remote.decide("faccessat2", AT_FDCWD, FILE, os.R_OK, 0x800) is CONTINUE
    assert remote.decide("access", FILE, 8) is CONTINUE


def test_rights_are_asked_for(remote: RemoteWorld) -> None:
    assert remote.decide("access", FILE, os.R_OK) == SUCCESS
    assert remote.decide("faccessat", remote.directory, b"file", os.W_OK) == SUCCESS
    flags = AT_EMPTY_PATH | EACCESS | NOFOLLOW
    assert remote.decide("faccessat2", remote.file, b"", os.X_OK, flags) == SUCCESS
    assert remote.stage.agent.asked(Access) == [
        Access(path=FILE, mode=os.R_OK, follow=True, effective=False),
        Access(path=FILE, mode=os.W_OK, follow=True, effective=False),
        Access(path=FILE, mode=os.X_OK, follow=False, effective=True),
    ]
    assert remote.decide("access", LOCAL, os.R_OK) is CONTINUE


def test_a_link_is_read_into_the_room_that_there_is(remote: RemoteWorld) -> None:
    room = remote.call.room(64)
    assert remote.decide("readlink", LINK, room, 64) == Return(4, ((room, b"../x"),))
    assert remote.decide("readlinkat", remote.directory, b"link", room, 2) == Return(2, ((room, b".."),))
    assert remote.decide("readlinkat", remote.link, b"", room, 64) == Return(4, ((room, b"../x"),))
    for size in (0, -1):
        assert remote.decide("readlink", LINK, room, size) is CONTINUE


def test_what_is_no_link_has_nothing_to_read(remote: RemoteWorld) -> None:
    """And with an empty path, none is there."""
    room = remote.call.room(64)
    with pytest.raises(OSError) as caught:
        remote.decide("readlink", FILE, room, 64)
    assert caught.value.errno == errno.EINVAL
    assert remote.decide("readlinkat", remote.file, b"", room, 64) == Fail(errno.ENOENT)


def test_a_link_of_proc_shows_the_path_of_the_target(remote: RemoteWorld) -> None:
    room = remote.call.room(64)
    verdict = remote.decide("readlink", b"/proc/self/fd/%d" % remote.file, room, 64)
    assert verdict == Return(len(FILE), ((room, FILE),))
    assert remote.decide("newfstatat", AT_FDCWD, b"/proc/self/fd/%d" % remote.file, room, 0) is CONTINUE


def test_the_file_system_is_the_targets(remote: RemoteWorld) -> None:
    room = remote.call.room(120)
    expected = Return(0, ((room, pack_statfs(SYSTEM)),))
    assert remote.decide("statfs", FILE, room) == expected
    for fd in (remote.file, remote.place_of_file, remote.directory):
        assert remote.decide("fstatfs", fd, room) == expected
    assert remote.decide("fstatfs", remote.local, room) is CONTINUE
    del remote.files[FILE]
    assert remote.decide("fstatfs", remote.file, room) is CONTINUE


def test_what_a_mapping_has_moved_is_looked_at_there(theatre: Theatre) -> None:
    moved = RemoteWorld(theatre, mapping={"^/moved": "/usr"})
    assert stat.S_ISDIR(looked_at(moved.decide("stat", b"/moved/bin/..", moved.call.room(256))))
    assert moved.decide("access", b"/moved/bin/env", os.X_OK) == SUCCESS
    assert moved.decide("access", b"/moved/none", os.F_OK) == Fail(errno.ENOENT)
    moved.close()
