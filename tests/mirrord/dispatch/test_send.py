"""Datagrams that are sent: each goes to the relay of its address, or is the kernel's."""

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from mirrord_agent.wire.datagram import split

from mirrord.dispatch.message import MULTI_SIZE
from mirrord.dispatch.outgoing import Outgoing
from mirrord.dispatch.send import Send
from mirrord.link.addresses import Peer, pack
from mirrord.syscall import CONTINUE, Elsewhere, Return, Verdict

from .fakes import REMOTE, SocketCall, Stage, Theatre
from .test_message import MsgHdr

OTHER = Peer("10.1.2.4", 81)
GROUP = Peer("224.0.0.1", 80)


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        yield made


def plane(stage: Stage) -> Send:
    return Send(stage.world, Outgoing(stage.world))


def sendto(stage: Stage, call: SocketCall, data: bytes, peer: Peer) -> Verdict:
    name = pack(peer, peer.family)
    call.called(3, call.place(data), len(data), 0, call.place(name), len(name))
    return plane(stage).sendto(call)


def header(call: SocketCall, data: bytes, peer: Peer | None) -> bytes:
    name = b"" if peer is None else pack(peer, peer.family)
    vectors = call.place(struct.pack("=QQ", call.place(data), len(data)))
    return bytes(MsgHdr(call.place(name) if name else 0, len(name), vectors, 1, 0, 0, 0))


def sent(stage: Stage, count: int) -> list[tuple[str, int, bytes]]:
    """Return what the agent has to send."""

    def frames() -> list[bytes]:
        return [frame for some in stage.agent.data.values() for frame in some]

    stage.until(lambda: len(frames()) >= count)
    return [(host, port, bytes(data)) for host, port, data in map(split, frames())]


@pytest.mark.parametrize("peer", [GROUP, Peer("10.1.2.3", 53)])
def test_what_is_local_is_the_kernels(theatre: Theatre, sock: socket.socket, peer: Peer) -> None:
    stage = theatre.stage({"network": {"dns": False}})
    call = SocketCall(sock)
    assert sendto(stage, call, b"x", peer) is CONTINUE
    assert plane(stage).sendmsg(call.called(3, call.place(header(call, b"x", peer)), 0)) is CONTINUE


def test_a_message_without_an_address_is_the_kernels(stage: Stage, sock: socket.socket) -> None:
    call = SocketCall(sock)
    call.descriptors.clear()
    assert plane(stage).sendmsg(call.called(3, call.place(header(call, b"x", None)), 0)) is CONTINUE


def test_each_way_of_sending_goes_to_the_address(theatre: Theatre, sock: socket.socket) -> None:
    stage = theatre.stage(agent=True)
    call = SocketCall(sock)
    assert sendto(stage, call, b"one", REMOTE) == Return(3)
    assert plane(stage).sendmsg(call.called(3, call.place(header(call, b"two!", OTHER)), 0)) == Return(4)
    assert sorted(sent(stage, 2)) == [("10.1.2.3", 80, b"one"), ("10.1.2.4", 81, b"two!")]


def test_several_messages_tell_how_much_of_each_was_sent(theatre: Theatre, sock: socket.socket) -> None:
    stage = theatre.stage(agent=True)
    call = SocketCall(sock)
    headers = [header(call, data, REMOTE).ljust(MULTI_SIZE, b"\0") for data in (b"a", b"bcd")]
    at = call.place(b"".join(headers))
    verdict = plane(stage).sendmmsg(call.called(3, at, 2, 0))
    assert isinstance(verdict, Return)
    assert verdict.value == 2
    call.carry_out(verdict.writes)
    lengths = [call.read(at + number * MULTI_SIZE + MULTI_SIZE - 8, 4) for number in range(2)]
    assert lengths == [struct.pack("=I", 1), struct.pack("=I", 3)]
    assert [data for _, _, data in sent(stage, 2)] == [b"a", b"bcd"]


def test_a_pod_without_such_addresses_has_no_way_there(theatre: Theatre, sock: socket.socket) -> None:
    with pytest.raises(OSError) as caught:
        sendto(theatre.stage(addresses={}), SocketCall(sock), b"x", REMOTE)
    assert caught.value.errno == errno.ENETUNREACH


def test_the_programs_own_socket_is_reached_here(stage: Stage, sock: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        stage.world.own_datagram_sockets.add(os.fstat(own.fileno()).st_ino)
        assert sendto(stage, SocketCall(sock), b"x", Peer(*own.getsockname())) is CONTINUE


def test_other_sockets_and_namespaces_are_left_alone(stage: Stage, sock: socket.socket) -> None:
    with socket.socket() as stream:
        assert sendto(stage, SocketCall(stream), b"x", REMOTE) is CONTINUE
    call = SocketCall(sock)
    call.foreign = True
    with pytest.raises(Elsewhere):
        sendto(stage, call, b"x", REMOTE)
