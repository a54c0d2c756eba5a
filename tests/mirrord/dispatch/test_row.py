import errno

import pytest
from mirrord_seccomp.rules import Action, Op, Rule, Test

from mirrord.dispatch.row import AT_EMPTY_PATH, equal, given, refuse, trap, trap_paths, traps_of
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


NOFOLLOW = 0x100


@pytest.mark.parametrize(
    ("directory", "flags", "seen"),
    [
        (3, 0, True),
        (-100, 0, True),
        (-100, NOFOLLOW, True),
        (3, AT_EMPTY_PATH, False),
        (2**32 + 3, AT_EMPTY_PATH, False),
        (3, AT_EMPTY_PATH | NOFOLLOW, True),
        (-100, AT_EMPTY_PATH, True),
        (2**32 - 100, AT_EMPTY_PATH, True),
    ],
)
def test_all_but_a_plain_fstat_is_trapped(directory: int, flags: int, seen: bool) -> None:
    rows = trap_paths("newfstatat", lambda call: CONTINUE, directory=0, flags=3)
    (rules,) = traps_of([*rows, refuse("socket", errno.EPERM)]).values()
    arguments = [directory % 2**64, 0, 0, flags, 0, 0]
    assert any(rule.matches(arguments) for rule in rules) is seen
