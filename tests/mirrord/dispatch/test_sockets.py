import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.dispatch.sockets import (
    address_writes,
    cookie,
    descriptor,
    is_blocking,
    program_socket,
    read_peer,
    read_sockaddr,
    receive_timeout,
    send_timeout,
)
from mirrord.link.addresses import Peer, pack
from mirrord.syscall import Fault

from .fakes import FakeCall, SocketCall


@given(st.integers(0, 2**64 - 1))
def test_the_upper_half_of_an_int_argument_is_ignored(register: int) -> None:
    assert descriptor(register) == struct.unpack("=i", struct.pack("=Q", register)[:4])[0]


def test_a_program_socket_is_a_duplicate() -> None:
    with socket.socket() as sock, program_socket(SocketCall(sock), 3 + (7 << 32)) as duplicate:
        assert duplicate.fileno() != sock.fileno()
        assert cookie(duplicate) == cookie(sock)
        assert not os.get_inheritable(duplicate.fileno())


@pytest.mark.parametrize("blocking", [True, False])
def test_looking_at_a_socket_leaves_its_blocking_mode_alone(blocking: bool) -> None:
    with socket.socket() as sock:
        os.set_blocking(sock.fileno(), blocking)
        with program_socket(SocketCall(sock), 3) as duplicate:
            assert is_blocking(duplicate) is blocking
        assert os.get_blocking(sock.fileno()) is blocking


def test_no_descriptor_and_no_socket() -> None:
    call = FakeCall()
    with open(os.devnull) as null:
        call.descriptors[4] = null.fileno()
        before = len(os.listdir("/proc/self/fd"))
        for fd, number in ((3, errno.EBADF), (4, errno.ENOTSOCK), (-1, errno.EBADF)):
            with pytest.raises(OSError) as caught:
                program_socket(call, fd)
            assert caught.value.errno == number
        assert len(os.listdir("/proc/self/fd")) == before


def test_every_socket_has_a_cookie_of_its_own() -> None:
    with socket.socket() as one, socket.socket() as other, one.dup() as same:
        assert cookie(one) == cookie(same) != cookie(other)


def test_timeouts() -> None:
    with socket.socket() as sock:
        assert (send_timeout(sock), receive_timeout(sock)) == (None, None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("=qq", 2, 500_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("=qq", 0, 100_000))
        assert send_timeout(sock) == pytest.approx(2.5, abs=0.02)
        assert receive_timeout(sock) == pytest.approx(0.1, abs=0.02)


def test_a_sockaddr_of_the_program() -> None:
    call = FakeCall()
    sockaddr = pack(Peer("10.0.0.1", 80), socket.AF_INET)
    at = call.place(sockaddr)
    assert read_sockaddr(call, at, len(sockaddr)) == sockaddr
    assert read_sockaddr(call, 0, 0) == b""
    assert read_peer(call, at, len(sockaddr)) == Peer("10.0.0.1", 80)
    assert read_peer(call, at, 4) is None
    assert read_peer(call, call.place(b"\x01\0/run/x\0"), 9) is None


@pytest.mark.parametrize("length", [-1, 129, 2**31 - 1])
def test_an_impossible_length_is_einval(length: int) -> None:
    with pytest.raises(OSError) as caught:
        read_sockaddr(FakeCall(), 0, length % 2**64)
    assert caught.value.errno == errno.EINVAL


def test_a_bad_pointer_is_a_fault() -> None:
    for act in (read_sockaddr, read_peer):
        with pytest.raises(Fault):
            act(FakeCall(), 1, 16)


@pytest.mark.parametrize("room", [0, 4, 16, 28, 128])
def test_an_address_is_reported_as_the_kernel_does(room: int) -> None:
    """Compared with getsockname(2) of this machine's kernel."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sockaddr = pack(Peer(*sock.getsockname()), socket.AF_INET)
    call = FakeCall()
    at, length_at = call.room(128), call.place(struct.pack("=i", room))
    call.carry_out(address_writes(call, sockaddr, at=at, length_at=length_at))
    assert call.read(at, 128) == sockaddr[:room].ljust(128, b"\0")
    assert call.read(length_at, 4) == struct.pack("=i", len(sockaddr))


def test_a_negative_room_is_einval() -> None:
    call = FakeCall()
    with pytest.raises(OSError) as caught:
        address_writes(call, b"x" * 16, at=call.room(16), length_at=call.place(struct.pack("=i", -1)))
    assert caught.value.errno == errno.EINVAL


def test_a_room_that_is_nowhere_is_a_fault() -> None:
    call = FakeCall()
    length_at = call.place(struct.pack("=i", 16))
    with pytest.raises(Fault):
        address_writes(call, b"x" * 16, at=0, length_at=length_at)
    with pytest.raises(Fault):
        address_writes(call, b"x" * 16, at=call.room(16), length_at=1)
