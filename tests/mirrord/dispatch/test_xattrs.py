"""Extended attributes of remote files, by path and of what is open."""

import errno

import pytest
from mirrord_agent.wire.messages import GetXattr, ListXattrs

from mirrord.syscall import CONTINUE, Fail, Return

from .remote import COLOR, DIRECTORY, FILE, LOCAL, NOWHERE, RemoteWorld


@pytest.mark.parametrize("name", ["getxattr", "lgetxattr", "fgetxattr"])
def test_a_value_is_given_into_the_room_that_there_is(remote: RemoteWorld, name: str) -> None:
    it: bytes | int = remote.file if name.startswith("f") else FILE
    room = remote.call.room(16)
    assert remote.decide(name, it, COLOR, room, 16) == Return(4, ((room, b"blue"),))
    assert remote.decide(name, it, COLOR, 0, 0) == Return(4)
    assert remote.decide(name, it, COLOR, room, 3) == Fail(errno.ERANGE)
    assert [asked.path for asked in remote.stage.agent.asked(GetXattr)] == [FILE] * 3


@pytest.mark.parametrize("name", ["listxattr", "llistxattr", "flistxattr"])
def test_names_are_listed(remote: RemoteWorld, name: str) -> None:
    it: bytes | int = remote.file if name.startswith("f") else FILE
    room = remote.call.room(16)
    assert remote.decide(name, it, room, 16) == Return(11, ((room, COLOR + b"\0"),))
    assert remote.decide(name, it, room, 5) == Fail(errno.ERANGE)
    assert [asked.path for asked in remote.stage.agent.asked(ListXattrs)] == [FILE] * 2


def test_what_is_local_is_the_kernels(remote: RemoteWorld) -> None:
    assert remote.decide("getxattr", LOCAL, COLOR, 0, 0) is CONTINUE
    assert remote.decide("listxattr", LOCAL, 0, 0) is CONTINUE
    for fd in (remote.local, remote.place_of_file):
        assert remote.decide("fgetxattr", fd, COLOR, 0, 0) is CONTINUE
        assert remote.decide("flistxattr", fd, 0, 0) is CONTINUE


@pytest.mark.parametrize("name", [b"", b"user." + b"x" * 251])
def test_a_name_has_a_length(remote: RemoteWorld, name: bytes) -> None:
    for call, it in (("getxattr", FILE), ("fgetxattr", remote.file)):
        with pytest.raises(OSError) as caught:
            remote.decide(call, it, name, 0, 0)
        assert caught.value.errno == errno.ERANGE


def test_what_is_not_there_has_none(remote: RemoteWorld) -> None:
    for path, number in ((DIRECTORY, errno.ENODATA), (NOWHERE, errno.ENODATA)):
        with pytest.raises(OSError) as caught:
            remote.decide("getxattr", path, COLOR, 0, 0)
        assert caught.value.errno == number
