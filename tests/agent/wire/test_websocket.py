import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from mirrord_agent.wire import websocket as module
from mirrord_agent.wire.binary import pack
from mirrord_agent.wire.errors import ChannelClosed
from mirrord_agent.wire.frames import MAX_FRAME
from mirrord_agent.wire.websocket import FIRST_MESSAGES, UNPROVED, WebSocket

from ..running import joined_websockets, on_loop, until
from .test_binary import UPGRADE, feed


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[WebSocket, WebSocket]]:
    client, agent = await joined_websockets()
    try:
        yield client, agent
    finally:
        for end in (client, agent):
            end.abort("the test has ended")
        for end in (client, agent):
            await end.wait_closed()


@asynccontextmanager
async def raw_client() -> AsyncIterator[tuple[socket.socket, WebSocket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop = asyncio.get_running_loop()
    _, agent = await loop.create_connection(lambda: WebSocket(loop, client=False), sock=theirs)
    with ours:
        yield ours, agent
        agent.abort("the test has ended")
        await agent.wait_closed()


async def read(sock: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, 65_536)


@on_loop
async def test_messages_arrive_in_order_and_whole() -> None:
    async with ends() as (client, agent):
        messages = [b"", b"a", bytes(200), bytes(4000)]
        for message in messages:
            client.send(message)
        assert [bytes(await agent.receive()) for _ in messages] == messages
        agent.send(b"answer")
        assert bytes(await client.receive()) == b"answer"


@on_loop
async def test_a_long_message_needs_the_proof() -> None:
    async with ends() as (client, agent):
        client.send(bytes(FIRST_MESSAGES + 1))
        with pytest.raises(ChannelClosed, match="4097 bytes"):
            await agent.receive()
        with pytest.raises(ChannelClosed, match="4097 bytes"):
            await client.receive()


@on_loop
async def test_messages_have_a_limit_after_the_proof() -> None:
    async with ends() as (client, agent):
        agent.prove()
        longest = os.urandom(MAX_FRAME)
        client.send(longest)
        assert await agent.receive() == longest
        client.send(longest + b"x")
        with pytest.raises(ChannelClosed, match=f"{MAX_FRAME + 1} bytes"):
            await agent.receive()


@on_loop
async def test_what_waits_is_given_when_somebody_listens() -> None:
    async with ends() as (client, agent):
        client.send(b"1")
        client.send(b"2")
        await until(lambda: agent._messages)
        taken: list[bytes] = []
        agent.start(lambda message: taken.append(bytes(message)))
        client.send(b"3")
        await until(lambda: len(taken) == 3)
        assert taken == [b"1", b"2", b"3"]


@on_loop
async def test_a_goodbye_carries_its_reason() -> None:
    async with ends() as (client, agent):
        lost: list[str] = []
        agent.on_lost = lost.append
        client.send(b"last")
        client.close("enough é" * 100)
        assert bytes(await agent.receive()) == b"last"
        await until(lambda: lost)
        assert lost[0].startswith("enough é")
        assert client.reason is not None
        client.send(b"too late")
        client.close("again")


@on_loop
async def test_the_end_of_the_other_side_is_noticed_at_once() -> None:
    async with ends() as (client, agent):
        agent.abort("killed")
        with pytest.raises(ChannelClosed, match="the other side closed the connection"):
            await client.receive()


@on_loop
async def test_fragments_are_joined() -> None:
    async with ends() as (client, agent):
        protocol = client._protocol
        protocol.send_binary(b"one ", fin=False)
        protocol.send_continuation(b"two ", fin=False)
        protocol.send_ping(b"")
        protocol.send_continuation(b"three", fin=True)
        client._flush()
        assert bytes(await agent.receive()) == b"one two three"


@on_loop
async def test_text_is_refused() -> None:
    async with ends() as (client, agent):
        client._protocol.send_text(b"text")
        client._flush()
        with pytest.raises(ChannelClosed, match="sent a text message"):
            await agent.receive()


@on_loop
async def test_what_is_no_websocket_is_refused() -> None:
    async with raw_client() as (client, agent):
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ChannelClosed, match="the websocket was refused"):
            await agent.opened()


@on_loop
async def test_noise_is_refused() -> None:
    async with raw_client() as (client, agent):
        client.send(b"\0" * 100_000)
        with pytest.raises(ChannelClosed):
            await agent.opened()


@on_loop
async def test_an_unmasked_frame_is_refused() -> None:
    async with raw_client() as (client, agent):
        client.send(UPGRADE)
        await agent.opened()
        assert (await read(client)).startswith(b"HTTP/1.1 101 ")
        client.send(b"\x82\x01x")
        with pytest.raises(ChannelClosed, match="broke the websocket protocol: incorrect masking"):
            await agent.receive()


@on_loop
async def test_a_ping_is_answered_and_silence_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING_INTERVAL", 0.01)
    monkeypatch.setattr(module, "SILENCE", 0.05)
    async with raw_client() as (client, agent):
        client.send(UPGRADE)
        await agent.opened()
        await read(client)
        assert (await read(client)).startswith(b"\x89\0")
        with pytest.raises(ChannelClosed, match="no sign of life from the other side"):
            await agent.receive()


@on_loop
async def test_pings_keep_a_silent_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING_INTERVAL", 0.001)
    monkeypatch.setattr(module, "SILENCE", 1.0)
    async with ends() as (client, agent):
        heard = agent._heard
        await until(lambda: agent._heard > heard + 0.01)
        assert client.reason is agent.reason is None


@on_loop
async def test_much_that_waits_is_told() -> None:
    async with ends() as (client, agent):
        agent.prove()
        resumed: list[bool] = []
        client.on_resumed = lambda: resumed.append(True)
        while not client.busy:
            client.send(bytes(128 * 1024))
        agent.start(lambda message: None)
        await until(lambda: resumed)
        assert not client.busy


@on_loop
async def test_a_peer_that_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 4 * MAX_FRAME)
    async with ends() as (client, _):
        lost: list[str] = []
        client.on_lost = lost.append
        for _ in range(100):
            client.send(bytes(128 * 1024))
        assert lost == ["the other side does not read what is sent to it"]


@on_loop
async def test_the_way_is_measured_and_what_travels_counted() -> None:
    async with ends() as (client, agent):
        client.start(lambda _: None)
        agent.start(lambda _: None)
        client.send(bytes(1000))
        client.measure()
        await until(lambda: client.round_trip is not None)
        assert client.bytes_sent == 1000
        assert agent.bytes_received >= 1000


@on_loop
async def test_a_peer_that_proves_nothing_is_not_listened_to_for_ever() -> None:
    async with raw_client() as (client, agent):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, UPGRADE)
        await agent.opened()
        # empty parts of a message that never ends
        piece = b"\x02\x80abcd"
        with suppress(ConnectionError):
            while agent.reason is None:
                await loop.sock_sendall(client, piece)
                piece = b"\x00\x80abcd" * 1000
        assert agent.reason == "the other side sent too much before it had proved itself"
        assert agent.bytes_received < UNPROVED + module._READ


@on_loop
async def test_what_was_given_up_before_it_began_is_closed() -> None:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    agent = WebSocket(loop, client=False)
    agent.abort("nobody wants it")
    with ours:
        ours.setblocking(False)
        await loop.create_connection(lambda: agent, sock=theirs)
        assert await read(ours) == b""
        await agent.wait_closed()


@on_loop
async def test_what_is_sent_in_one_turn_leaves_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ends() as (client, _):
        transport = client._transport
        assert transport is not None
        written: list[bytes] = []
        monkeypatch.setattr(transport, "write", written.append)
        for message in (b"one", b"two", b"three"):
            client.send(message)
        await until(lambda: written)
        assert len(written) == 1


@on_loop
async def test_an_answer_leaves_while_what_it_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ends() as (_, agent):
        answers: list[bytes] = []
        transport = agent._transport
        assert transport is not None
        monkeypatch.setattr(transport, "write", answers.append)
        agent.start(agent.send)
        for message in (b"one", b"two"):
            feed(agent, pack(message, masked=True))
        assert answers == [pack(message, masked=False) for message in (b"one", b"two")]


@pytest.mark.parametrize(
    "frame",
    [pack(b"unmasked", masked=False), b"\xc2" + pack(b"reserved bit", masked=True)[1:]],
    ids=["unmasked", "reserved bit"],
)
@on_loop
async def test_a_frame_against_the_rules_ends_the_connection(frame: bytes) -> None:
    async with ends() as (_, agent):
        feed(agent, frame)
        assert agent.reason is not None
        assert agent.reason.startswith("the other side broke the websocket protocol")


@pytest.mark.parametrize("end", [b"\xc2\x80mask", b"\x88\x80mask"], ids=["a fault", "a goodbye"])
@on_loop
async def test_nothing_is_taken_that_comes_behind_the_end(end: bytes) -> None:
    async with ends() as (_, agent):
        got: list[bytes] = []
        agent.start(lambda message: got.append(bytes(message)))
        feed(agent, pack(b"before", masked=True) + end + pack(b"behind", masked=True))
        assert got == [b"before"]
        assert agent.reason is not None
