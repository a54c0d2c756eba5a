"""Taking GOAWAY out."""

from hyperframe.frame import DataFrame, Frame, GoAwayFrame, PingFrame
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.http.sieve import Sieve

from .world import cut


@st.composite
def _frames(draw: st.DrawFn) -> list[Frame]:
    kinds: list[Frame] = []
    for kind in draw(st.lists(st.sampled_from("dpg"), max_size=8)):
        if kind == "d":
            kinds.append(DataFrame(1, draw(st.binary(max_size=20))))
        elif kind == "p":
            kinds.append(PingFrame(0, b"12345678"))
        else:
            last = draw(st.integers(0, 2**31 - 1))
            kinds.append(GoAwayFrame(0, last_stream_id=last, additional_data=draw(st.binary(max_size=20))))
    return kinds


@given(_frames(), st.lists(st.integers(1, 30), max_size=5), st.integers(0, 24))
def test_all_but_goaway_passes_frame_by_frame(frames: list[Frame], sizes: list[int], skip: int) -> None:
    sieve = Sieve(skip=skip)
    data = b"p" * skip + b"".join(frame.serialize() for frame in frames)
    passed = [piece for part in cut(data, sizes) for piece in sieve.feed(part)]
    kept = [frame.serialize() for frame in frames if not isinstance(frame, GoAwayFrame)]
    assert b"".join(passed) == b"p" * skip + b"".join(kept)
    going = [frame.last_stream_id for frame in frames if isinstance(frame, GoAwayFrame)]
    assert sieve.last_stream == (going[-1] if going else None)
    ends, at = set(), skip
    for frame in kept:
        at += len(frame)
        ends.add(at)
    at = 0
    for piece in passed:
        assert not any(at < end < at + len(piece) for end in ends)
        at += len(piece)


def test_a_goaway_without_a_number_is_one() -> None:
    sieve = Sieve()
    assert [*sieve.feed(b"\0\0\2\x07\0\0\0\0\0xx")] == []
    assert sieve.last_stream == 0
