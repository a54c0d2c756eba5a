import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.link.addresses import SIZE_IN, SIZE_IN6, Peer, family, from_name, pack, parse, to_name

ports = st.integers(0, 65_535)
peers4 = st.builds(Peer, st.ip_addresses(v=4).map(str), ports)
peers6 = st.builds(
    Peer,
    st.integers(0, 2**128 - 1)
    .filter(lambda number: number >> 32 != 0xFFFF)
    .map(lambda number: socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))),
    ports,
)


@given(peers4)
def test_ipv4_round_trip(peer: Peer) -> None:
    assert parse(pack(peer, socket.AF_INET)) == peer
    assert len(pack(peer, socket.AF_INET)) == SIZE_IN


@given(peers6)
def test_ipv6_round_trip(peer: Peer) -> None:
    assert parse(pack(peer, socket.AF_INET6)) == peer
    assert len(pack(peer, socket.AF_INET6)) == SIZE_IN6


@given(peers4)
def test_an_ipv4_peer_of_an_ipv6_socket_is_v4_mapped(peer: Peer) -> None:
    packed = pack(peer, socket.AF_INET6)
    assert family(packed) == socket.AF_INET6
    assert ipaddress.IPv6Address(packed[8:24]).ipv4_mapped == ipaddress.IPv4Address(peer.host)
    assert parse(packed) == peer


@given(peers4 | peers6)
def test_names_round_trip(peer: Peer) -> None:
    assert from_name(to_name(peer, peer.family)) == peer
    assert from_name(to_name(peer, socket.AF_INET6)) == peer


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        (("1.2.3.4", 5), Peer("1.2.3.4", 5)),
        (("::ffff:1.2.3.4", 5, 0, 0), Peer("1.2.3.4", 5)),
        (("fe80::1%lo", 5, 0, 1), Peer("fe80::1", 5)),
        (("::1", 5, 0, 0), Peer("::1", 5)),
    ],
)
def test_names_of_python(name: tuple[str, int], peer: Peer) -> None:
    assert from_name(name) == peer


def test_the_kernel_lays_addresses_out_alike() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        peer = from_name(sock.getsockname())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.connect(to_name(peer, socket.AF_INET))
            assert from_name(other.getpeername()) == peer
    assert pack(Peer("127.0.0.1", 80), socket.AF_INET) == b"\x02\0\0\x50\x7f\0\0\1" + bytes(8)


@given(st.binary(max_size=40))
def test_any_bytes_are_an_address_or_none(sockaddr: bytes) -> None:
    peer = parse(sockaddr)
    assert peer is None or (peer.family in (socket.AF_INET, socket.AF_INET6) and 0 <= peer.port <= 65_535)


@pytest.mark.parametrize("size", range(SIZE_IN))
def test_a_short_ipv4_address_is_none(size: int) -> None:
    assert parse(pack(Peer("1.2.3.4", 5), socket.AF_INET)[:size]) is None


@pytest.mark.parametrize("size", range(SIZE_IN6 - 4))
def test_a_short_ipv6_address_is_none(size: int) -> None:
    assert parse(pack(Peer("::1", 5), socket.AF_INET6)[:size]) is None


def test_an_ipv6_address_may_lack_its_scope() -> None:
    """The kernel takes SIN6_LEN_RFC2133 bytes, those before ``sin6_scope_id`` (ipv6(7))."""
    assert parse(pack(Peer("::1", 5), socket.AF_INET6)[: SIZE_IN6 - 4]) == Peer("::1", 5)


@pytest.mark.parametrize(("sockaddr", "kind"), [(b"", 0), (b"\x02", 0), (b"\x02\0", 2), (b"\x01\0/x", 1)])
def test_the_family_of_an_address(sockaddr: bytes, kind: int) -> None:
    assert family(sockaddr) == kind


def test_another_family_is_no_peer() -> None:
    assert parse(struct.pack("=H", socket.AF_UNIX) + b"/run/x\0" + bytes(40)) is None


@pytest.mark.parametrize(
    ("host", "loopback", "unspecified", "text"),
    [
        ("127.0.0.1", True, False, "127.0.0.1:9"),
        ("127.9.9.9", True, False, "127.9.9.9:9"),
        ("::1", True, False, "[::1]:9"),
        ("0.0.0.0", False, True, "0.0.0.0:9"),
        ("::", False, True, "[::]:9"),
        ("10.0.0.1", False, False, "10.0.0.1:9"),
    ],
)
def test_what_a_peer_is(host: str, loopback: bool, unspecified: bool, text: str) -> None:
    peer = Peer(host, 9)
    assert (peer.is_loopback, peer.is_unspecified, str(peer)) == (loopback, unspecified, text)
