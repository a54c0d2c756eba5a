import errno

import pytest
from mirrord_agent.wire.messages import Failed, Stat
from mirrord_seccomp.rules import Action, Test

from mirrord.dispatch.process import Process
from mirrord.dispatch.row import equal
from mirrord.syscall import CONTINUE, Fail

from ..link.agent import attributes
from .fakes import FakeCall, Stage, Theatre


def refusals(stage: Stage) -> list[tuple[str, Action, tuple[Test, ...]]]:
    return [
        (row.rule.syscall, row.rule.action, row.rule.tests)
        for row in Process(stage.world).rows()
        if row.handler is None
    ]


def test_rings_and_multipath_are_refused(stage: Stage) -> None:
    assert refusals(stage) == [
        ("io_uring_setup", Action.ERRNO(errno.ENOSYS), ()),
        ("socket", Action.ERRNO(errno.EPROTONOSUPPORT), (equal(2, 262),)),
    ]


def test_ipv6_sockets_are_refused_where_it_is_off(theatre: Theatre) -> None:
    off = theatre.stage({"network": {"ipv6": False}})
    assert ("socket", Action.ERRNO(errno.EAFNOSUPPORT), (equal(0, 10),)) in refusals(off)


def test_a_thread_that_executes_is_looked_at_afresh(stage: Stage) -> None:
    call = FakeCall()
    call.called(call.place(b"/usr/bin/env\0"))
    assert Process(stage.world).execve(call) is CONTINUE
    call.called(-100 % 2**64, call.place(b"env\0"))
    assert Process(stage.world).execveat(call) is CONTINUE
    call.called(3, 0, 0, 0, 0x1000)
    assert Process(stage.world).execveat(call) is CONTINUE
    assert stage.forgotten == [call.tid] * 3


def test_what_only_the_target_has_is_not_executed(theatre: Theatre) -> None:
    stage = theatre.stage({}, agent=True)
    stage.agent.answer = lambda request: attributes() if isinstance(request, Stat) else None
    call = FakeCall()
    call.called(call.place(b"/srv/tool\0"))
    assert stage.run(Process(stage.world).execve(call)) == Fail(errno.ENOENT)
    stage.agent.answer = lambda request: Failed(errno=errno.EACCES) if isinstance(request, Stat) else None
    with pytest.raises(PermissionError):
        stage.run(Process(stage.world).execve(call))


def test_all_threads_are_looked_at_afresh_when_one_moves(stage: Stage) -> None:
    assert Process(stage.world).moving(FakeCall()) is CONTINUE
    assert stage.forgotten == [None]


def test_what_is_trapped(stage: Stage) -> None:
    def names() -> set[str]:
        return {row.rule.syscall for row in Process(stage.world).rows() if row.handler}

    assert names() == {"execve", "execveat", "unshare", "setns", "chroot", "pivot_root"}
    stage.world.returning_from_signal = lambda call: CONTINUE
    assert "rt_sigreturn" in names()
