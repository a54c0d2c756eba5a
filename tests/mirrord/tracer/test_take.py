import errno
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from mirrord.syscall import CONTINUE, Call, Fail, GiveFd, Return, Verdict, Wait
from mirrord.tracer import give, take

from ...support.waiting import until
from .puppet import nr, traced

FSYNC = nr("fsync")


@pytest.fixture(autouse=True)
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """No duplicate is to be had but those that threads send."""
    used: list[int] = []

    def refuse(pidfd: int, fd: int) -> int:
        used.append(fd)
        raise PermissionError(errno.EPERM, "forbidden")

    monkeypatch.setattr(give, "pidfd_getfd", refuse)
    monkeypatch.setattr("mirrord.tracer.threads.pidfd_getfd", refuse)
    yield used
    assert used == []
    assert not hasattr(take, "pidfd_getfd")


def ignore(fd: int) -> None:
    """Keep nothing."""


@pytest.mark.parametrize(
    ("verdict", "result"),
    [
        (CONTINUE, 0),
        (Return(77), 77),
        (Fail(errno.EIO), -errno.EIO),
    ],
)
def test_a_descriptor_is_sent_and_the_call_gets_its_answer(verdict: Verdict, result: int) -> None:
    def handler(call: Call) -> Verdict:
        for _ in range(2):
            fd = call.duplicate(call.args[0])
            taken.append(os.pread(fd, 7, 0))
            os.close(fd)
        return verdict

    taken: list[bytes] = []
    with traced(keep=ignore, fsync=handler) as program:
        fd = program.puppet("os.memfd_create('x')")
        program.puppet(f"os.write({fd}, b'content')")
        before = program.puppet("sorted(os.listdir('/proc/self/fd'))")
        for count in range(1, 4):
            assert program.call("fsync", fd) == result
            assert taken == [b"content"] * 2 * count
        assert len(program.calls) == 3, "a call that is made once more is not decided again"
        assert program.puppet("sorted(os.listdir('/proc/self/fd'))") == before
        assert program.warnings == []


def test_what_is_not_open_is_the_calls_error() -> None:
    with traced(keep=ignore, fsync=lambda call: Return(call.duplicate(call.args[0]))) as program:
        assert program.call("fsync", 1000) == -errno.EBADF
        assert program.call("fsync", 2**64 - 1) == -errno.EBADF


def test_a_program_that_hides_its_memory_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write it all the same, so that is made up."""

    def refuse(tid: int, address: int, data: bytes) -> int:
        raise PermissionError(errno.EPERM, "hidden")

    monkeypatch.setattr(take, "process_vm_write", refuse)
    with traced(keep=ignore, fsync=lambda call: Return(call.duplicate(0))) as program:
        before = program.puppet("sorted(os.listdir('/proc/self/fd'))")
        assert program.call("fsync", 1000) == -errno.EBADF, "what the kernel says"
        assert program.puppet("sorted(os.listdir('/proc/self/fd'))") == before
        assert len(program.warnings) == 1


def test_a_descriptor_is_given_by_name() -> None:
    def handler(call: Call) -> Verdict:
        os.close(call.duplicate(0))
        ours, theirs = socket.socketpair()
        ours.send(b"word")
        ours.close()
        return GiveFd(theirs.detach(), True)

    with traced(keep=ignore, fsync=handler) as program:
        for _ in range(3):
            assert program.puppet(f"os.read(call({FSYNC}, 1), 10)") == b"word"


@pytest.mark.parametrize(("flag", "result"), [("False", -errno.EINTR), ("True", 9)])
def test_a_held_call_is_interrupted_as_by_the_kernel(flag: str, result: int) -> None:
    """With SA_RESTART it is made again, and decided again."""

    async def never() -> Verdict:
        raise AssertionError

    def handler(call: Call) -> Verdict:
        os.close(call.duplicate(0))
        return Wait(never, interruptible=True) if len(program.calls) == 1 else Return(9)

    with traced(keep=ignore, fsync=handler) as program:
        program.puppet("[signal.signal(signal.SIGUSR1, lambda *_: kept.append(1))] and None")
        program.puppet(f"signal.siginterrupt(signal.SIGUSR1, not {flag})")
        program.puppet.tell(f"call({FSYNC}, 1000)")
        until("it is held", lambda: program.held)
        os.kill(program.puppet.pid, signal.SIGUSR1)
        program.tracing.carry_out(program.held[0][0], CONTINUE)
        assert program.puppet.hear() == result
        assert program.puppet("kept") == [1]


def test_sockets_that_may_be_connected_are_told_of() -> None:
    seen: list[int] = []

    def keep(fd: int) -> None:
        seen.append(os.fstat(fd).st_ino)

    def handler(call: Call) -> Verdict:
        os.close(call.duplicate(call.args[0]))
        return Fail(errno.ECONNREFUSED)

    with traced(keep=keep, connect=handler, getpeername=handler) as program:
        fd = program.puppet("socket.socket().detach()")
        inode = program.puppet(f"os.fstat({fd}).st_ino")
        assert program.call("getpeername", fd, 0, 0) == -errno.ECONNREFUSED
        assert seen == []
        assert program.call("connect", fd, 0, 0) == -errno.ECONNREFUSED
        assert seen == [inode]
