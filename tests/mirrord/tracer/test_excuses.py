"""The one line that the user gets for calls that run locally."""

import os

import pytest

from mirrord.syscall import CONTINUE, Elsewhere, Skipped, Tid
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.excuses import Excuses


def call(tid: int) -> TrappedCall:
    made = TrappedCall.__new__(TrappedCall)
    made.tid = Tid(tid)
    return made


@pytest.fixture
def lines() -> list[str]:
    return []


def test_each_reason_is_told_once(lines: list[str]) -> None:
    excuses = Excuses(lines.append)
    for error in (Elsewhere("x"), Elsewhere("x"), Elsewhere("y"), ValueError("x"), ValueError("x")):
        assert excuses.excuse(call(os.getpid()), 7, error) is CONTINUE
    assert [line.rsplit(": ", 1)[1] for line in lines] == ["x", "y", "x"]
    assert "system call 7 was left to the kernel: ValueError" in lines[2]


def test_what_the_user_asked_for_is_not_told(lines: list[str]) -> None:
    assert Excuses(lines.append).excuse(call(1), 7, Skipped("x")) is CONTINUE
    assert lines == []


def test_a_thread_that_has_ended_is_named_so(lines: list[str]) -> None:
    Excuses(lines.append).excuse(call(2**22 + 1), 7, Elsewhere("x"))
    assert lines == [f"warning: process {2**22 + 1} (ended) runs locally, as will others like it: x"]
