import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.trace.packets import ACK, PSH, checksum, tcp, udp

from ...support.capture import Packet, parse, words_sum

ENDS = [(("10.0.0.1", 1), ("10.0.0.2", 65535)), (("fd00::1", 1), ("fd00::2", 65535))]


@pytest.mark.parametrize("ends", ENDS)
@given(data=st.binary(max_size=70), sequence=st.integers(0, 2**40))
def test_a_segment_has_right_sizes_and_checksums(
    ends: tuple[tuple[str, int], tuple[str, int]], data: bytes, sequence: int
) -> None:
    packet = parse(tcp(*ends, sequence, 7, PSH | ACK, data))
    assert packet == Packet(socket.IPPROTO_TCP, *ends, data, sequence % 2**32, PSH | ACK)


@pytest.mark.parametrize("ends", ENDS)
@given(data=st.binary(max_size=70))
def test_a_datagram_has_right_sizes_and_checksums(
    ends: tuple[tuple[str, int], tuple[str, int]], data: bytes
) -> None:
    assert parse(udp(*ends, data)) == Packet(socket.IPPROTO_UDP, *ends, data)


@given(st.binary(max_size=50))
def test_the_checksum_is_what_is_missing_to_all_ones(data: bytes) -> None:
    assert checksum(data) == 0xFFFF - words_sum(data)
