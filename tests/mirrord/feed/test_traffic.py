from hypothesis import given
from hypothesis import strategies as st

from mirrord.feed.traffic import Piece

PORTS = st.integers(0, 65535)
V4 = st.tuples(st.ip_addresses(v=4).map(str), PORTS)
V6 = st.tuples(st.ip_addresses(v=6, network="fd00::/8").map(str), PORTS)
PIECES = st.one_of(st.tuples(V4, V4), st.tuples(V6, V6)).flatmap(
    lambda ends: st.builds(
        Piece,
        time=st.integers(0, 2**63),
        flow=st.integers(0, 2**32 - 1),
        offset=st.integers(0, 2**63),
        local=st.just(ends[0]),
        remote=st.just(ends[1]),
        udp=st.booleans(),
        incoming=st.booleans(),
        sent=st.booleans(),
        fin=st.booleans(),
        data=st.binary(max_size=100),
    )
)


@given(PIECES)
def test_a_piece_is_the_same_after_its_way(piece: Piece) -> None:
    assert Piece.unpack(piece.pack()) == piece


def test_an_ipv4_end_of_an_ipv6_connection_is_mapped() -> None:
    piece = Piece(
        time=1,
        flow=1,
        offset=0,
        local=("10.0.0.1", 1),
        remote=("fe80::1", 2),
        udp=False,
        incoming=False,
        sent=True,
    )
    assert Piece.unpack(piece.pack()).local == ("::ffff:10.0.0.1", 1)
