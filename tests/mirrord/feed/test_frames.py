import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.feed.frames import Decoder, FrameError, Kind, encode

FRAMES = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=300)), max_size=8)


@given(FRAMES, st.integers(1, 64))
def test_frames_arrive_however_they_are_cut(frames: list[tuple[Kind, bytes]], size: int) -> None:
    data = b"".join(encode(kind, payload) for kind, payload in frames)
    decoder = Decoder()
    got = [frame for at in range(0, len(data), size) for frame in decoder.take(data[at : at + size])]
    assert got == frames


def test_a_frame_that_is_too_long_is_refused() -> None:
    with pytest.raises(FrameError, match="100 bytes"):
        list(Decoder(most=99).take(encode(Kind.RECORDS, bytes(100))))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(FrameError, match="kind 99"):
        list(Decoder().take(b"\0\0\0\0c"))
