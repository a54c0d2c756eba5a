from contextlib import suppress
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.wire.frames import (
    HEADER,
    MAX_FRAME,
    MAX_PAYLOAD,
    Frame,
    FrameError,
    Kind,
    decode,
    decode_number,
    encode,
    encode_number,
)

ids = st.integers(0, 2**32 - 1)
free = st.sampled_from([Kind.REQUEST, Kind.REPLY, Kind.EVENT])


@given(free, ids, st.binary(max_size=300))
def test_a_frame_is_what_was_encoded(kind: Kind, id: int, payload: bytes) -> None:
    frame = decode(encode(kind, id, payload))
    assert (frame.kind, frame.id, bytes(frame.payload)) == (kind, id, payload)


@given(st.sampled_from([Kind.CREDIT, Kind.RESET]), ids, ids)
def test_numbers_are_what_was_encoded(kind: Kind, id: int, value: int) -> None:
    frame = decode(encode_number(kind, id, value))
    assert (frame.kind, frame.id, decode_number(frame)) == (kind, id, value)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_frame_or_an_error(message: bytes) -> None:
    with suppress(FrameError):
        frame = decode(message)
        assert encode(frame.kind, frame.id, frame.payload) == message


@pytest.mark.parametrize("view", [bytes, bytearray, memoryview])
def test_the_payload_is_a_view_of_the_message(view: type) -> None:
    message = encode(Kind.DATA, 1, b"data")
    frame = decode(cast(bytes, view(message)))
    assert isinstance(frame, Frame)
    assert bytes(frame.payload) == b"data"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"", "a frame of 0 bytes, expected 5 to 1048576"),
        (b"\x05\0\0\0", "a frame of 4 bytes"),
        (b"\x09\0\0\0\x01", "unknown kind 9"),
        (b"\x00\0\0\0\x01", "unknown kind 0"),
        (b"\x05\0\0\0\x01", "a DATA frame without data"),
        (b"\x06\0\0\0\x01x", "a FIN frame with 1 bytes of payload, expected none"),
        (b"\x03\0\0\0\x01x", "a CANCEL frame with 1 bytes"),
        (b"\x08\0\0\0\x01xxx", "a CREDIT frame with 3 bytes of payload, expected 4"),
        (b"\x07\0\0\0\x01", "a RESET frame with 0 bytes of payload, expected 4"),
    ],
)
def test_what_is_wrong_is_said(message: bytes, problem: str) -> None:
    with pytest.raises(FrameError, match=problem):
        decode(message)


def test_the_size_has_a_limit() -> None:
    longest = encode(Kind.DATA, 1, bytes(MAX_PAYLOAD))
    assert len(longest) == MAX_FRAME == MAX_PAYLOAD + HEADER.size
    assert len(decode(longest).payload) == MAX_PAYLOAD
    with pytest.raises(FrameError, match=f"a frame of {MAX_FRAME + 1} bytes"):
        decode(longest + b"x")
    with pytest.raises(ValueError, match=f"payload of {MAX_PAYLOAD + 1} bytes"):
        encode(Kind.DATA, 1, bytes(MAX_PAYLOAD + 1))
