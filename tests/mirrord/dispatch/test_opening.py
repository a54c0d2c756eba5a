"""Opening what is remote: a descriptor of its placeholder, or the errno of a read-only mount."""

import errno
import os
from collections.abc import Iterator
from typing import Final

import pytest
from mirrord_agent.wire.messages import Attributes, FileOpened, OpenFile, Reply, Request

from mirrord.dispatch.row import AT_FDCWD
from mirrord.syscall import CONTINUE, Fail, GiveFd, OpenPath, Verdict

from .fakes import Theatre
from .remote import DIRECTORY, FILE, LOCAL, RemoteWorld

TMPFILE: Final = 0o20000000 | os.O_DIRECTORY


@pytest.fixture
def remote(theatre: Theatre) -> Iterator[RemoteWorld]:
    """A world whose files have the content ``hello``; what is relative is remote also for writing."""
    world = RemoteWorld(theatre)
    world.enter(DIRECTORY)
    usual = world.stage.agent.answer
    sent: set[int] = set()

    def answer(request: Request) -> Reply | None:
        if not isinstance(request, OpenFile):
            return usual(request)
        found = world.about(os.path.join(request.base or b"", request.path))
        if not isinstance(found, Attributes):
            return found
        if request.stream not in sent:
            sent.add(request.stream)
            world.stage.loop.call_soon(world.stage.agent.content, request.stream, b"hello")
        return FileOpened(attributes=found)

    world.stage.agent.answer = answer
    yield world
    world.close()


def content(verdict: Verdict, *, cloexec: bool = False) -> bytes:
    """Return what is in the file that the program is given."""
    assert isinstance(verdict, GiveFd)
    assert verdict.cloexec is cloexec
    with open(verdict.fd, "rb") as stream:
        return stream.read()


@pytest.mark.parametrize("flags", [0, os.O_NOFOLLOW, os.O_NONBLOCK, 2**32, os.O_CLOEXEC])
def test_a_remote_file_is_given(remote: RemoteWorld, flags: int) -> None:
    cloexec = bool(flags & os.O_CLOEXEC)
    assert content(remote.decide("open", FILE, flags, 0), cloexec=cloexec) == b"hello"
    assert content(remote.decide("openat", remote.directory, b"file", flags), cloexec=cloexec) == b"hello"
    assert remote.decide("open", LOCAL, flags, 0) is CONTINUE


def how(flags: int, mode: int = 0, resolve: int = 0) -> bytes:
    return b"".join(part.to_bytes(8, "little") for part in (flags, mode, resolve))


def openat2(remote: RemoteWorld, directory: int, path: bytes, wanted: bytes, size: int = 24) -> Verdict:
    return remote.decide("openat2", directory, path, remote.call.place(wanted), size)


def test_openat2_opens(remote: RemoteWorld) -> None:
    assert content(openat2(remote, AT_FDCWD, FILE, how(0))) == b"hello"
    beneath = 0x08
    assert content(openat2(remote, remote.directory, b"file", how(0, 0, beneath))) == b"hello"
    assert remote.stage.agent.asked(OpenFile)[-1].base == DIRECTORY
    assert remote.stage.agent.asked(OpenFile)[-1].resolve == beneath
    cached = 0x20
    assert openat2(remote, AT_FDCWD, FILE, how(0, 0, cached)) == Fail(errno.EAGAIN)


@pytest.mark.parametrize(
    "wanted",
    [
        how(2**40),
        how(0, 0, 0x40),
        how(0, 0, 0x18),
        how(0, 0o644),
        how(os.O_CREAT, 0o10000),
        how(os.O_PATH | os.O_APPEND),
        how(0o20000000),
        how(os.O_CREAT | os.O_DIRECTORY),
    ],
)
def test_what_the_kernel_calls_invalid_is_left_to_it(remote: RemoteWorld, wanted: bytes) -> None:
    assert openat2(remote, AT_FDCWD, FILE, wanted) is CONTINUE
    assert openat2(remote, AT_FDCWD, FILE, how(0), size=23) is CONTINUE


def test_a_place_is_made_by_the_thread_itself(remote: RemoteWorld) -> None:
    """What O_PATH ignores is ignored."""
    for name, flags in ((b"file", 0), (b"link", os.O_NOFOLLOW), (b"file", os.O_WRONLY | os.O_CREAT)):
        verdict = remote.decide("openat", remote.directory, name, os.O_PATH | flags)
        assert isinstance(verdict, OpenPath)
        assert (verdict.name, verdict.cloexec) == (name, False)
        os.close(verdict.fd)


def test_what_is_here_in_full_is_opened_again_by_the_kernel(remote: RemoteWorld) -> None:
    verdict = remote.decide("open", FILE, 0, 0)
    assert isinstance(verdict, GiveFd)
    link = b"/proc/self/fd/%d" % verdict.fd
    assert remote.decide("open", link, os.O_RDONLY, 0) is CONTINUE
    assert remote.decide("open", link, os.O_RDWR, 0) == Fail(errno.EROFS)
    os.close(verdict.fd)


@pytest.mark.parametrize(
    ("path", "flags", "number"),
    [
        (b"file", os.O_WRONLY, errno.EROFS),
        (b"file", os.O_RDWR | os.O_CREAT, errno.EROFS),
        (b"file", os.O_RDONLY | os.O_TRUNC, errno.EROFS),
        (b"file", os.O_CREAT | os.O_EXCL | os.O_WRONLY, errno.EEXIST),
        (b"file", os.O_WRONLY | os.O_DIRECTORY, errno.ENOTDIR),
        (b"link", os.O_WRONLY | os.O_NOFOLLOW, errno.ELOOP),
        (b".", os.O_WRONLY, errno.EISDIR),
        (b".", TMPFILE | os.O_RDWR, errno.EROFS),
        (b"none", os.O_CREAT | os.O_WRONLY, errno.EROFS),
        (b"none/", os.O_CREAT | os.O_WRONLY, errno.EISDIR),
        (b"none", os.O_WRONLY, errno.ENOENT),
        (b"none/below", os.O_CREAT | os.O_WRONLY, errno.ENOENT),
    ],
)
def test_nothing_is_opened_to_be_written(remote: RemoteWorld, path: bytes, flags: int, number: int) -> None:
    try:
        verdict = remote.decide("openat", remote.directory, path, flags, 0o644)
    except OSError as error:
        verdict = Fail(error.errno or 0)
    assert verdict == Fail(number)


def test_creat_is_an_open_to_write(remote: RemoteWorld) -> None:
    assert remote.decide("creat", b"file", 0o644) == Fail(errno.EROFS)


def test_what_is_there_need_not_be_created(remote: RemoteWorld) -> None:
    assert content(remote.decide("open", b"file", os.O_RDONLY | os.O_CREAT, 0o644)) == b"hello"


def test_what_a_mapping_has_moved_is_opened_there(theatre: Theatre) -> None:
    moved = RemoteWorld(theatre, mapping={"^/moved": "/usr"})
    assert content(moved.decide("open", b"/moved/bin/env", os.O_RDONLY, 0))
    verdict = moved.decide("open", b"/moved/bin/env", os.O_PATH, 0)
    assert isinstance(verdict, OpenPath)
    os.close(verdict.fd)
    with pytest.raises(FileNotFoundError):
        moved.decide("open", b"/moved/none", os.O_RDONLY, 0)
    moved.close()
