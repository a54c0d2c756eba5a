"""The filter in the kernel: a datagram socket of any family runs it, and needs no privilege."""

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_agent.mirror.packets import End
from mirrord_agent.mirror.socket_filter import MOST_PORTS, NOTHING, compile_filter

from .making import CLIENT, CLIENT6, SERVER, SERVER6, packet, segment

SO_ATTACH_FILTER = 26
LARGE = b"x" * 48_000


@contextmanager
def filtered(code: bytes) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        held = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
        theirs.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
        theirs.setblocking(False)
        yield ours, theirs


def passed(ends: tuple[socket.socket, socket.socket], data: bytes) -> int:
    """Return how many bytes of a packet are taken."""
    ends[0].send(data)
    try:
        return len(ends[1].recv(100_000))
    except BlockingIOError:
        return 0


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)], ids=["IPv4", "IPv6"])
def test_what_goes_to_a_port_is_whole_and_of_what_comes_the_headers(client: End, server: End) -> None:
    there = packet(segment(1, LARGE, source=client, destination=server), options=b"\1" * 12)
    back = packet(segment(1, LARGE, source=server, destination=client), options=b"\1" * 12)
    other = packet(segment(1, LARGE, source=client, destination=End(server.host, 8081)))
    with filtered(compile_filter([8080])) as ends:
        assert passed(ends, there) == len(there)
        assert passed(ends, back) == 120
        assert passed(ends, other) == 0


def test_options_of_ip_move_the_ports() -> None:
    made = packet(segment(1, b"abc"), ip_options=b"\1" * 40)
    with filtered(compile_filter([8080])) as ends:
        assert passed(ends, made) == len(made)


@pytest.mark.parametrize("made", [packet(segment(1), fragment=7), packet(segment(1), protocol=17), b"E"])
def test_what_has_no_ports_is_not_taken(made: bytes) -> None:
    with filtered(compile_filter([8080])) as ends:
        assert passed(ends, made) == 0


def test_nothing_is_nothing() -> None:
    with filtered(NOTHING) as ends:
        assert passed(ends, packet(segment(1))) == 0


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(1, 65_535), min_size=1, max_size=MOST_PORTS), st.integers(1, 65_535))
def test_any_ports(ports: set[int], other: int) -> None:
    with filtered(compile_filter(ports)) as ends:
        for port in {*sorted(ports)[:3], max(ports), other}:
            for host in (SERVER.host, SERVER6.host):
                made = packet(segment(1, source=End(host, 0), destination=End(host, port)))
                assert passed(ends, made) == (len(made) if port in ports else 0)


def test_too_many_ports() -> None:
    assert len(compile_filter(range(1, MOST_PORTS + 1))) // 8 <= 4096
    with pytest.raises(ValueError, match="257 ports, at most 256"):
        compile_filter(range(1, MOST_PORTS + 2))
