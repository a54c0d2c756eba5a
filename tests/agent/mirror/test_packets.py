import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.mirror.packets import ACK, FIN, SYN, End, Segment, parse

from .making import CLIENT, CLIENT6, SERVER, SERVER6, packet, segment

ENDS = [(CLIENT, SERVER), (CLIENT6, SERVER6)]


@pytest.mark.parametrize(("source", "destination"), ENDS, ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("options", [b"", b"\1" * 12, b"\1" * 40])
def test_what_was_packed_is_parsed(source: End, destination: End, options: bytes) -> None:
    made = segment(
        5, b"data", SYN | FIN | ACK, acknowledged=2**32 - 1, source=source, destination=destination
    )
    found = parse(memoryview(packet(made, options=options)))
    assert found == made
    assert isinstance(found, Segment)


def test_options_of_ip_are_skipped() -> None:
    made = segment(5, b"data")
    assert parse(memoryview(packet(made, ip_options=b"\1" * 40))) == made


def test_the_padding_of_a_frame_is_no_payload() -> None:
    made = segment(5, b"a")
    assert parse(memoryview(packet(made) + bytes(19))) == made


@pytest.mark.parametrize("ends", ENDS, ids=["IPv4", "IPv6"])
def test_a_length_too_large_for_its_field_is_the_packets(ends: tuple[End, End]) -> None:
    made = segment(5, b"x" * 1000, source=ends[0], destination=ends[1])
    whole = bytearray(packet(made))
    at = 2 if len(ends[0].host) == 4 else 4
    whole[at : at + 2] = b"\0\0"
    assert parse(memoryview(whole)) == made


def test_cut_payload_is_left_out() -> None:
    made = segment(5, b"x" * 1000, source=SERVER, destination=CLIENT)
    found = parse(memoryview(packet(made)[:120]))
    assert found is not None
    assert found.sequence == 5
    assert found.payload == b"x" * 80


def test_another_protocol_is_no_segment() -> None:
    assert parse(memoryview(packet(segment(5), protocol=17))) is None


@given(st.binary(max_size=200))
def test_no_bytes_surprise_it(data: bytes) -> None:
    parse(memoryview(data))
    parse(memoryview(b"\x45" + data))
    parse(memoryview(b"\x60" + data))


def test_ends_as_people_write_them() -> None:
    assert CLIENT.text == "10.1.2.3"
    assert SERVER6.text == "fd00::9"
    assert End(socket.inet_pton(socket.AF_INET6, "::ffff:1.2.3.4"), 1).text == "::ffff:1.2.3.4"
