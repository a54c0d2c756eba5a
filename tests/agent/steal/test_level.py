"""Levels: numbers, marks, and that the kernel frees them."""

import os
import signal

import pytest
from mirrord_agent.errors import AgentError
from mirrord_agent.steal.level import (
    MARK,
    MARK_MASK,
    Level,
    LevelNumber,
    iptables_levels,
    nftables_levels,
    take_level,
    take_whole,
    try_level,
)

from ..namespace import fork, in_namespace


def _use(_: Level) -> None:
    """Use a level."""


@in_namespace
def test_a_level_is_taken_once_and_free_when_closed() -> None:
    first = take_level(nftables_levels(), _use)
    second = take_level(nftables_levels(), _use)
    assert (first.number, second.number) == (8, 9)
    assert try_level(first.number) is None
    first.close()
    assert take_level(nftables_levels(), _use).number == 8


@in_namespace
def test_a_killed_holder_frees_its_level() -> None:
    reading, writing = os.pipe()
    pid = fork()
    if pid == 0:
        held = take_level(nftables_levels(), _use)
        os.write(writing, str(held.number).encode())
        signal.pause()
    assert os.read(reading, 1) == b"8"
    assert try_level(LevelNumber(8)) is None
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    level = try_level(LevelNumber(8))
    assert level is not None


@in_namespace
def test_a_level_that_cannot_be_used_is_passed_over_and_freed() -> None:
    def use(level: Level) -> None:
        if level.number < 3:
            raise FileExistsError

    assert take_level(iptables_levels(), use).number == 3
    assert take_level(iptables_levels(), _use).number == 0


@in_namespace
def test_an_error_frees_the_level() -> None:
    def use(_: Level) -> None:
        raise PermissionError

    with pytest.raises(PermissionError):
        take_level(iptables_levels(), use)
    assert take_level(iptables_levels(), _use).number == 0


@in_namespace
def test_there_are_no_more_than_eight() -> None:
    held = [take_level(iptables_levels(), _use) for _ in range(8)]
    with pytest.raises(AgentError, match="8 sessions already steal"):
        take_level(iptables_levels(), _use)
    assert [level.number for level in held] == [*range(8)]


@in_namespace
def test_marks_tell_who_passed_a_connection_on() -> None:
    levels = [
        take_level(numbers, _use) for numbers in (iptables_levels(), nftables_levels(), nftables_levels())
    ]
    low, middle, high = levels
    for level in levels:
        assert level.mark & MARK_MASK == MARK
        assert level.mark & level.passed_mask & ~MARK_MASK
    assert high.mark & ~MARK_MASK & middle.passed_mask == 0
    assert middle.mark & ~MARK_MASK & low.passed_mask == 0
    assert low.mark & high.passed_mask & ~MARK_MASK
    assert high.priority < middle.priority < low.priority < -100


@in_namespace
def test_who_filters_is_asked_before_who_does_not() -> None:
    for numbers in (iptables_levels, nftables_levels):
        first, whole, second = (take_level(numbers(filtered=one), _use) for one in (True, False, True))
        assert first.priority < second.priority < whole.priority


@in_namespace
def test_one_at_a_time_takes_all_of_a_port() -> None:
    held = take_whole(80)
    with pytest.raises(AgentError, match="another session steals all connections to it"):
        take_whole(80)
    take_whole(81).close()
    held.close()
    take_whole(80).close()
