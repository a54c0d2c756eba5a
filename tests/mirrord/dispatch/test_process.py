import errno

from mirrord_seccomp.rules import Action, Test

from mirrord.dispatch.process import Process
from mirrord.dispatch.row import equal
from mirrord.syscall import CONTINUE

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
    assert Process(stage.world).executing(call) is CONTINUE
    assert stage.forgotten == [call.tid]


def test_all_threads_are_looked_at_afresh_when_one_moves(stage: Stage) -> None:
    assert Process(stage.world).moving(FakeCall()) is CONTINUE
    assert stage.forgotten == [None]


def test_what_is_trapped(stage: Stage) -> None:
    def names() -> set[str]:
        return {row.rule.syscall for row in Process(stage.world).rows() if row.handler}

    assert names() == {"execve", "execveat", "unshare", "setns", "chroot", "pivot_root"}
    stage.world.returning_from_signal = lambda call: CONTINUE
    assert "rt_sigreturn" in names()
