"""What a rule says of a call must be what the compiled filter does with it."""

import errno
from typing import Final, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_seccomp.bpf import compile
from mirrord_seccomp.rules import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import Arch

from .interpreter import Call, run

WIDTHS: Final[tuple[Literal[32, 64], ...]] = (32, 64)
CLOSE: Final = 57
"""Its number on aarch64."""
REGISTERS: Final = st.one_of(
    st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 0x1000, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
)


@st.composite
def conditions(draw: st.DrawFn) -> Test:
    width: Literal[32, 64] = draw(st.sampled_from(WIDTHS))
    number = st.integers(-(1 << (width - 1)), (1 << width) - 1)
    mask = draw(st.one_of(st.just(-1), number))
    return Test(draw(st.integers(0, 5)), draw(st.sampled_from(Op)), draw(number), width, mask=mask)


@given(st.lists(conditions(), max_size=4), st.lists(REGISTERS, min_size=6, max_size=6))
def test_a_rule_matches_what_its_filter_traps(tests: list[Test], registers: list[int]) -> None:
    rule = Rule("close", Action.NOTIFY, *tests)
    call = Call(CLOSE, Arch.AARCH64.audit, tuple(registers))
    trapped = run(compile([rule], Arch.AARCH64), call) == Action.NOTIFY.value
    assert rule.matches(registers) is trapped


@pytest.mark.parametrize(("arg", "value", "width"), [(6, 0, 32), (-1, 0, 32), (0, 2**32, 32), (0, 2**64, 64)])
def test_what_no_call_can_have_is_refused(arg: int, value: int, width: int) -> None:
    with pytest.raises(ValueError):
        Test(arg, Op.EQ, value, width)  # type: ignore[arg-type]


def test_actions_are_shown_by_name() -> None:
    assert str(Action.NOTIFY) == "NOTIFY"
    assert str(Action.ERRNO(errno.ENOSYS)) == "ERRNO(38)"
    assert str(Action(0x12340000)) == "0x12340000"
    with pytest.raises(ValueError):
        Action.ERRNO(-1)
