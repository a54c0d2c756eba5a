import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.mirror.reassembly import Reassembler

STARTS = [0, 1, 2**31 - 5, 2**31, 2**32 - 1, 2**32 - 300]


def take(reassembler: Reassembler, sequence: int, data: bytes, *, fin: bool = False) -> bytes:
    return b"".join(reassembler.take(sequence % 2**32, memoryview(data), fin=fin))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[int, bytes, list[tuple[int, int]]]:
    """A first number, some bytes, and segments (start, end) that cover them, in the order of arrival."""
    data = draw(st.binary(min_size=1, max_size=600))
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=20))})
    segments = list(itertools.pairwise(cuts))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(data) - 1))
        segments.append((at, draw(st.integers(at, len(data)))))
    order = draw(st.permutations(segments))
    return draw(st.sampled_from(STARTS) | st.integers(0, 2**32 - 1)), data, order


@given(conversations())
def test_the_bytes_come_out_whatever_the_order_of_their_segments(
    conversation: tuple[int, bytes, list[tuple[int, int]]],
) -> None:
    first, data, segments = conversation
    reassembler = Reassembler(first)
    got = b"".join(
        take(reassembler, first + start, data[start:end], fin=end == len(data)) for start, end in segments
    )
    assert got == data
    assert reassembler.finished
    assert reassembler.held_memory == 0
    assert not reassembler.has_hole_before((first + len(data) + 1) % 2**32)


@given(conversations(), st.randoms())
def test_a_missing_part_is_a_hole_once_it_is_acknowledged(
    conversation: tuple[int, bytes, list[tuple[int, int]]], choice: random.Random
) -> None:
    first, data, segments = conversation
    missing = choice.randrange(len(data))
    reassembler = Reassembler(first)
    got = b""
    for start, end in segments:
        if not start <= missing < end:
            got += take(reassembler, first + start, data[start:end], fin=end == len(data))
    assert data.startswith(got)
    assert len(got) <= missing
    assert reassembler.position == len(got)
    assert not reassembler.finished
    assert not reassembler.has_hole_before((first + len(got)) % 2**32)
    assert reassembler.has_hole_before((first + len(data)) % 2**32)


def test_ten_thousand_segments_over_the_wrap() -> None:
    """As a client with a window of 64 segments on a path that reorders within it."""
    random_ = random.Random(5)
    data = random_.randbytes(4_000_000)
    cuts = sorted({0, len(data), *(random_.randrange(len(data)) for _ in range(10_000))})
    segments = sorted(itertools.pairwise(cuts), key=lambda piece: piece[0] + random_.randrange(64 * 400))
    reassembler = Reassembler(2**32 - 1_000_000)
    got = b"".join(take(reassembler, 2**32 - 1_000_000 + start, data[start:end]) for start, end in segments)
    assert got == data


def test_what_came_first_counts() -> None:
    reassembler = Reassembler(100)
    assert take(reassembler, 102, b"cd") == b""
    assert take(reassembler, 100, b"abXXe") == b"abcde"
    assert take(reassembler, 100, b"zzzzz") == b""


def test_bytes_after_the_end_are_not_the_streams() -> None:
    reassembler = Reassembler(100)
    assert take(reassembler, 100, b"ab", fin=True) == b"ab"
    assert take(reassembler, 102, b"more") == b""
    assert reassembler.finished


def test_an_old_number_is_not_an_end() -> None:
    reassembler = Reassembler(100)
    assert take(reassembler, 100, b"abcd") == b"abcd"
    assert take(reassembler, 100, b"ab", fin=True) == b""
    assert not reassembler.finished
    assert take(reassembler, 104, b"e") == b"e"


@pytest.mark.parametrize("ahead", [2**30 + 1, 2**31 - 1])
def test_what_no_window_can_hold_is_ignored(ahead: int) -> None:
    reassembler = Reassembler(7)
    assert take(reassembler, 7 + ahead, b"x") == b""
    assert reassembler.held_memory == 0
    assert not reassembler.has_hole_before((7 + ahead) % 2**32)


def test_many_small_pieces_count_for_what_they_take() -> None:
    reassembler = Reassembler(0)
    for at in range(1, 2001, 2):
        take(reassembler, at, b"x")
    assert reassembler.held_memory >= 1000 * 100
