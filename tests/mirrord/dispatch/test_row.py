import errno

from mirrord_seccomp.rules import Action, Op, Rule, Test

from mirrord.dispatch.row import AT_EMPTY_PATH, equal, given, refuse, trap, without
from mirrord.syscall import CONTINUE


def test_a_trap_has_a_handler() -> None:
    row = trap("connect", lambda call: CONTINUE, given(1))
    assert row.rule == Rule("connect", Action.NOTIFY, Test(1, Op.NE, 0, 64))
    assert row.handler is not None


def test_a_refusal_has_none() -> None:
    row = refuse("io_uring_setup", errno.ENOSYS)
    assert row.rule == Rule("io_uring_setup", Action.ERRNO(errno.ENOSYS))
    assert row.handler is None


def test_ints_are_compared_without_the_upper_half_of_the_register() -> None:
    assert equal(1, 5) == Test(1, Op.EQ, 5, 32)
    assert without(3, AT_EMPTY_PATH) == Test(3, Op.NO_BITS, 0x1000, 32)
