from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.wire.datagram import pack_header, split


@given(st.ip_addresses().filter(lambda address: "%" not in str(address)), st.integers(0, 65_535), st.binary())
def test_a_datagram_is_what_was_packed(address: object, port: int, payload: bytes) -> None:
    host, found, rest = split(pack_header(str(address), port) + payload)
    assert pack_header(host, found) == pack_header(str(address), port)
    assert (found, bytes(rest)) == (port, payload)


@given(st.binary(max_size=25))
def test_any_bytes_are_a_datagram_or_an_error(frame: bytes) -> None:
    with suppress(ValueError):
        host, port, payload = split(frame)
        assert pack_header(host, port) + payload == frame


@pytest.mark.parametrize("frame", [b"", b"\x05", b"\x04\x7f\0\0\x01\0", b"\x06" + bytes(17)])
def test_half_a_header_is_an_error(frame: bytes) -> None:
    with pytest.raises(ValueError, match="a datagram without a whole header"):
        split(frame)


def test_a_scope_stays_here() -> None:
    assert split(pack_header("fe80::1%eth0", 9))[:2] == ("fe80::1", 9)


def test_a_name_is_no_address() -> None:
    with pytest.raises(OSError):
        pack_header("localhost", 53)
