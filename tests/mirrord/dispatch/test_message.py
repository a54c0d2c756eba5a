import ctypes
import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.dispatch.message import MULTI_SIZE, SIZE, Message, pack_control
from mirrord.syscall import Fault

from .fakes import PAGE, FakeCall

sizes = st.lists(st.integers(0, 40), max_size=8)


class IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class MsgHdr(ctypes.Structure):
    """As the C compiler lays it out (bits/socket.h of this machine's 64-bit C library)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


def message(
    call: FakeCall,
    areas: list[tuple[int, int]],
    *,
    name: int = 0,
    name_size: int = 0,
    control: int = 0,
    control_size: int = 0,
) -> Message:
    vectors = call.place(b"".join(struct.pack("=QQ", at, size) for at, size in areas))
    header = MsgHdr(name, name_size, vectors, len(areas), control, control_size, 0)
    return Message.read(call, call.place(bytes(header)))


def test_the_layout_is_the_compilers() -> None:
    assert ctypes.sizeof(MsgHdr) == SIZE
    assert MULTI_SIZE == SIZE + 8
    call = FakeCall()
    at = call.place(bytes(MsgHdr(1, 2, 3, 4, 5, 6, 7)))
    assert Message.read(call, at) == Message(
        at=at, name=1, name_size=2, vectors=3, vector_count=4, control=5, control_size=6
    )
    for field, write in (
        ("namelen", Message.read(call, at).name_writes(b"x" * 16)[1]),
        ("controllen", Message.read(call, at).control_writes(b"")[0]),
        ("flags", Message.read(call, at).flags_write(0)),
    ):
        assert write[0] - at == getattr(MsgHdr, field).offset
        assert len(write[1]) == getattr(MsgHdr, field).size


@given(sizes, st.binary(max_size=200))
def test_what_is_scattered_is_gathered(parts: list[int], data: bytes) -> None:
    call = FakeCall(size=8192)
    told = message(call, [(call.room(size), size) for size in parts])
    call.carry_out(told.scatter(call, data))
    room = sum(parts)
    taken = data[:room]
    assert told.gather(call) == taken + bytes(room - len(taken))
    assert told.areas(call) == [(at, size) for (at, _), size in zip(told.areas(call), parts, strict=True)]


@given(sizes, st.binary(max_size=200))
def test_nothing_outside_of_the_areas_is_written(parts: list[int], data: bytes) -> None:
    call = FakeCall(size=8192)
    areas = [(call.room(size), size) for size in parts]
    allowed = {address for at, size in areas for address in range(at, at + size)}
    for at, piece in message(call, areas).scatter(call, data):
        assert set(range(at, at + len(piece))) <= allowed


def test_an_empty_part_may_be_anywhere() -> None:
    call = FakeCall()
    told = message(call, [(1, 0), (call.place(b"abc"), 3), (2**63, 0)])
    assert told.gather(call) == b"abc"


@pytest.mark.parametrize("where", [0, 1, PAGE - 1, PAGE + 4096, 2**64 - 1])
def test_a_bad_pointer_is_a_fault(where: int) -> None:
    call = FakeCall()
    with pytest.raises(Fault):
        Message.read(call, where)
    with pytest.raises(Fault):
        Message.read_many(call, where, 1)
    with pytest.raises(Fault):
        message(call, [(where, 5)]).gather(call)
    told = Message(at=PAGE, name=0, name_size=0, vectors=where, vector_count=1, control=0, control_size=0)
    for act in (told.areas, told.gather, lambda of: told.scatter(of, b"x")):
        with pytest.raises(Fault):
            act(call)


def test_too_many_parts_are_emsgsize() -> None:
    told = Message(at=PAGE, name=0, name_size=0, vectors=PAGE, vector_count=1025, control=0, control_size=0)
    with pytest.raises(OSError) as caught:
        told.areas(FakeCall(size=100_000))
    assert caught.value.errno == errno.EMSGSIZE


def test_several_messages() -> None:
    call = FakeCall()
    headers = [bytes(MsgHdr(number, 0, 0, 0, 0, 0, 0)) + bytes(8) for number in (10, 11, 12)]
    at = call.place(b"".join(headers))
    told = Message.read_many(call, at, 2)
    assert [(one.at, one.name) for one in told] == [(at, 10), (at + MULTI_SIZE, 11)]
    assert told[1].length_write(5) == (at + MULTI_SIZE + SIZE, struct.pack("=i", 5))
    assert Message.read_many(call, 0, 0) == []


def test_the_kernel_takes_1024_messages_at_most() -> None:
    call = FakeCall(size=1024 * MULTI_SIZE)
    assert len(Message.read_many(call, PAGE, 2**32 - 1)) == 1024


@given(st.binary(max_size=28), st.integers(0, 40))
def test_a_name_is_cut_to_its_room_and_told_in_full(sockaddr: bytes, room: int) -> None:
    call = FakeCall()
    told = message(call, [], name=PAGE + 2048, name_size=room)
    (at, name), (length_at, length) = told.name_writes(sockaddr)
    assert (at, name) == (PAGE + 2048, sockaddr[:room])
    assert (length_at, length) == (told.at + 8, struct.pack("=i", len(sockaddr)))
    assert message(call, []).name_writes(sockaddr) == ()


def test_control_messages_lie_as_the_kernel_would_put_them() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        for option in (socket.IP_TOS, socket.IP_TTL):
            receiver.setsockopt(socket.IPPROTO_IP, {socket.IP_TOS: 13, socket.IP_TTL: 12}[option], 1)
        sender.sendto(b"x", receiver.getsockname())
        _, parsed, _, _ = receiver.recvmsg(1, 256, socket.MSG_PEEK)
        raw = received_control(receiver)
    assert len(parsed) == 2
    packed = pack_control(parsed)
    assert packed[: len(raw)] == raw
    assert len(packed) - len(raw) in range(8)


def received_control(sock: socket.socket) -> bytes:
    """Receive by the C library, which leaves control messages as they are."""
    payload, control = ctypes.create_string_buffer(1), ctypes.create_string_buffer(256)
    vector = IoVec(ctypes.addressof(payload), 1)
    header = MsgHdr(None, 0, ctypes.addressof(vector), 1, ctypes.addressof(control), 256, 0)
    assert ctypes.CDLL(None).recvmsg(sock.fileno(), ctypes.byref(header), 0) == 1
    return control.raw[: header.controllen]


def test_control_messages_are_reported_with_their_length() -> None:
    call = FakeCall()
    told = message(call, [], control=PAGE + 2048, control_size=64)
    assert told.control_writes(b"c" * 24) == (
        (PAGE + 2048, b"c" * 24),
        (told.at + MsgHdr.controllen.offset, struct.pack("=Q", 24)),
    )
    assert told.control_writes(b"") == ((told.at + MsgHdr.controllen.offset, struct.pack("=Q", 0)),)
