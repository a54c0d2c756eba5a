import asyncio
import errno
import os
import random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mirrord_agent.wire import messages
from mirrord_agent.wire.channel import Channel, ChannelClosed, RequestFailed
from mirrord_agent.wire.frames import Kind, encode, encode_number
from mirrord_agent.wire.messages import (
    Address,
    Arrived,
    DatagramError,
    Done,
    Failed,
    GetHostname,
    Hostname,
    Message,
    OpenTcp,
    Reply,
    Request,
    Stat,
)
from mirrord_agent.wire.stream import WINDOW
from mirrord_agent.wire.websocket import WebSocket

from ..running import Recorder, Waiting, agreeing, joined, joined_websockets, on_loop, settled, until

SOAK: Final = os.environ.get("MIRRORD_SOAK") == "1"
FRAMES: Final = 100_000 if SOAK else 2_000


@on_loop
async def test_a_request_has_its_reply() -> None:
    async def named(request: Request, channel: Channel) -> Reply:
        assert isinstance(request, Stat)
        return Hostname(name=request.path)

    async with joined(named) as pair:
        names = [b"/%d" % number for number in range(100)]
        requests = (pair.client.request(Stat(path=name), Hostname) for name in names)
        assert [reply.name for reply in await asyncio.gather(*requests)] == names


@on_loop
async def test_the_end_of_the_link_ends_everything_at_once() -> None:
    waiting = Waiting()
    async with joined(waiting) as pair:
        requests = [asyncio.create_task(pair.client.request(Stat(path=b"/"), Done)) for _ in range(50)]
        stream = Recorder(pair.client.open_stream())
        await until(lambda: waiting.begun == 50)
        pair.agent_socket.abort("killed")
        reason = await pair.client.closed
        assert reason == "the other side closed the connection"
        for outcome in await asyncio.gather(*requests, return_exceptions=True):
            assert isinstance(outcome, ChannelClosed)
            assert outcome.reason == reason
        assert stream.resets == 1
        await until(lambda: waiting.cancelled == 50)
        with pytest.raises(ChannelClosed, match=reason):
            await pair.client.request(GetHostname())
        dead = Recorder(pair.client.open_stream())
        await until(lambda: dead.resets)
        with pytest.raises(ChannelClosed, match=reason):
            await pair.client.drained()


@on_loop
async def test_data_may_be_written_before_the_stream_is_asked_for() -> None:
    async with joined() as pair:
        ours = pair.client.open_stream()
        ours.write(b"early")
        ours.fin()
        await pair.client.request(OpenTcp(stream=ours.id, host="", port=0), Done)
        theirs = Recorder(pair.agent.stream(ours.id))
        assert (theirs.data, theirs.fins) == (b"early", 1)


@on_loop
async def test_a_failed_request_ends_its_stream() -> None:
    async def failing(request: Request, channel: Channel) -> Reply:
        return Failed(errno=errno.ECONNREFUSED)

    async with joined(failing) as pair:
        ours = Recorder(pair.client.open_stream())
        with pytest.raises(RequestFailed):
            await pair.client.request(OpenTcp(stream=ours.stream.id, host="", port=0), Done)
        assert (ours.resets, pair.client.open_streams, pair.agent.open_streams) == (1, 0, 0)
        ours.stream.reset()


@on_loop
async def test_the_agents_streams_are_even_ones() -> None:
    async with joined() as pair:
        assert [pair.client.open_stream().id for _ in range(3)] == [1, 3, 5]
        assert [pair.agent.open_stream().id for _ in range(3)] == [2, 4, 6]


@on_loop
async def test_events_arrive() -> None:
    async with joined() as pair:
        events: list[DatagramError] = []
        pair.client.on_event(DatagramError, events.append)
        event = DatagramError(stream=1, errno=errno.ECONNREFUSED)
        pair.agent.emit(event)
        await until(lambda: events)
        assert events == [event]


def arrived(stream: int) -> Arrived:
    return Arrived(
        stream=stream,
        port=80,
        remote=Address(host="10.0.0.1", port=1),
        local=Address(host="10.0.0.2", port=80),
    )


@on_loop
async def test_an_event_opens_a_stream() -> None:
    async with joined() as pair:
        taken: list[Recorder] = []
        pair.client.on_event(Arrived, lambda event: taken.append(Recorder(pair.client.stream(event.stream))))
        stream = pair.agent.open_stream()
        answered = Recorder(stream)
        stream.write(b"before")
        pair.agent.emit(arrived(stream.id))
        stream.write(b" and after")
        stream.fin()
        await until(lambda: taken and taken[0].fins)
        assert taken[0].data == b"before and after"
        taken[0].stream.write(b"back")
        taken[0].stream.fin()
        await until(lambda: answered.fins)
        assert answered.data == b"back"
        assert pair.client.open_streams == pair.agent.open_streams == 0


@on_loop
async def test_a_stream_that_nobody_expects_is_reset() -> None:
    async with joined() as pair:
        stream = pair.agent.open_stream()
        recorder = Recorder(stream)
        pair.agent.emit(arrived(stream.id))
        await until(lambda: recorder.resets)
        assert pair.client.open_streams == 0


@pytest.mark.parametrize(("number", "problem"), [(1, "does not belong to"), (2, "opened twice")])
@on_loop
async def test_an_event_opens_the_senders_own_fresh_streams_only(number: int, problem: str) -> None:
    async with joined() as pair:
        pair.client.on_event(Arrived, lambda event: None)
        pair.agent.emit(arrived(2))
        pair.agent.emit(arrived(number))
        assert problem in await pair.client.closed


@on_loop
async def test_a_reply_of_another_type_ends_the_link() -> None:
    async with joined() as pair:
        with pytest.raises(ChannelClosed, match="the reply to get_hostname was done"):
            await pair.client.request(GetHostname(), Hostname)


@on_loop
async def test_all_streams_wait_while_the_link_is_busy() -> None:
    async with joined() as pair:
        ours = [Recorder((await pair.streams())[0]) for _ in range(3)]
        pair.client_socket.pause_writing()
        assert [recorder.stream.credit for recorder in ours] == [0, 0, 0]
        draining = asyncio.create_task(pair.client.drained())
        await asyncio.sleep(0)
        pair.client_socket.resume_writing()
        await draining
        assert [recorder.writable for recorder in ours] == [1, 1, 1]
        assert [recorder.stream.credit for recorder in ours] == [WINDOW] * 3


@on_loop
async def test_no_more_is_buffered_than_may_be() -> None:
    """Every one of many streams writes what it may to a peer that reads nothing."""
    client, agent = await joined_websockets()
    agent.prove()
    channel = Channel(client, client=True)
    channel.start()
    try:
        for _ in range(200):
            stream = channel.open_stream()
            pending = asyncio.create_task(channel.request(OpenTcp(stream=stream.id, host="", port=0)))
            await asyncio.sleep(0)
            while credit := stream.credit:
                stream.write(bytes(min(credit, 65_536)))
            pending.cancel()
        transport = client._transport
        assert transport is not None
        assert transport.get_write_buffer_size() < 3 * 1024 * 1024
    finally:
        agent.abort("the test has ended")
        channel.close("the test has ended")
        await channel.wait_closed()
        await agent.wait_closed()


def frame(message: Message, id: int = 1, kind: Kind = Kind.REQUEST) -> bytes:
    return encode(kind, id, messages.encode(message))


OPEN = frame(OpenTcp(stream=1, host="", port=0))


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([b"\x09\0\0\0\0"], "a frame of unknown kind 9"),
        ([encode(Kind.REQUEST, 1, b"{}")], "not a message"),
        ([encode(Kind.DATA, 7, b"x")], "a DATA frame for stream 7, which was never opened"),
        ([encode(Kind.DATA, 0, b"x")], "a DATA frame for stream 0, which was never opened"),
        ([encode(Kind.FIN, 2)], "a FIN frame for stream 2, which was never opened"),
        ([frame(OpenTcp(stream=2, host="", port=0))], "stream 2 opened by the side that it does not belong"),
        ([OPEN, frame(OpenTcp(stream=1, host="", port=0), 2)], "stream 1 opened twice"),
        ([frame(GetHostname(), 0)], "request 0 made twice"),
        ([frame(GetHostname()), frame(GetHostname())], "request 1 made twice"),
        ([OPEN, encode(Kind.FIN, 1), encode(Kind.FIN, 1)], "a second FIN on stream 1"),
        ([OPEN, encode(Kind.FIN, 1), encode(Kind.DATA, 1, b"x")], "data on stream 1 after its FIN"),
        ([OPEN, encode(Kind.DATA, 1, bytes(WINDOW + 1))], "1 bytes more on stream 1 than it had credit for"),
        ([OPEN, encode_number(Kind.CREDIT, 1, 2**32 - 1)], "credit of 4295229439 on stream 1"),
        ([OPEN, encode_number(Kind.RESET, 1, 5000)], "a reset with errno 5000"),
        ([encode(Kind.REPLY, 1, b"{}")], "a reply to request 1, which was never made"),
    ],
)
def test_a_broken_rule_closes_the_link_with_a_sentence(frames: list[bytes], problem: str) -> None:
    @on_loop
    async def check() -> None:
        async with joined(Waiting()) as pair:
            for each in frames:
                pair.client_socket.send(each)
            await pair.agent.closed
            assert f"the other side broke the protocol: {problem}" in (pair.agent.reason or "")
            assert problem in await pair.client.closed

    check()


@on_loop
async def test_the_supervisor_answers_no_requests() -> None:
    async with joined() as pair:
        pair.agent_socket.send(frame(GetHostname()))
        assert "to the side that answers none" in await pair.client.closed


@on_loop
async def test_a_reply_that_is_none_closes_the_link() -> None:
    waiting = Waiting()
    async with joined(waiting) as pair:
        request = asyncio.create_task(pair.client.request(GetHostname()))
        await until(lambda: waiting.begun)
        pair.agent.send(Kind.REPLY, 1, b"{}")
        with pytest.raises(ChannelClosed, match="not a message"):
            await request


@on_loop
async def test_what_was_under_way_to_a_closed_stream_is_ignored() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        theirs.reset()
        for late in (
            encode(Kind.DATA, ours.id, b"late"),
            encode(Kind.FIN, ours.id),
            encode_number(Kind.CREDIT, ours.id, 1),
            encode_number(Kind.RESET, ours.id, 0),
            encode(Kind.CANCEL, 77),
        ):
            pair.client_socket.send(late)
        await settled(pair)
        assert pair.agent.reason is None


kinds = st.sampled_from([*map(int, Kind), 0, 9])
some_frames = st.builds(
    lambda kind, id, payload: bytes([kind]) + id.to_bytes(4, "big") + payload,
    kinds,
    st.integers(0, 4) | st.integers(0, 2**32 - 1),
    st.binary(max_size=20) | st.sampled_from([frame(GetHostname())[5:], OPEN[5:], frame(Done())[5:]]),
)


class Ends:
    """One end of a link without any transport, fed with frames."""

    def __init__(self, *, client: bool) -> None:
        self.socket = WebSocket(asyncio.get_running_loop(), client=client)
        self.channel = Channel(self.socket, client=client, handler=None if client else agreeing)
        self.channel.start()


@settings(deadline=None, max_examples=100)
@given(st.lists(some_frames, max_size=8), st.booleans())
def test_any_frames_leave_a_link_or_a_sentence(frames: list[bytes], client: bool) -> None:
    @on_loop
    async def check() -> None:
        await feed(frames, client=client)

    check()


async def feed(frames: list[bytes], *, client: bool) -> None:
    end = Ends(client=client)
    pending = asyncio.create_task(end.channel.request(GetHostname())) if client else None
    await asyncio.sleep(0)
    for each in frames:
        assert end.socket.on_message is not None
        end.socket.on_message(each)
    reason = end.channel.reason
    assert reason is None or reason.startswith(("the other side broke the protocol: ", "the reply to"))
    end.channel.close("the test has ended")
    if pending is not None:
        await asyncio.gather(pending, return_exceptions=True)


@pytest.mark.soak
@pytest.mark.parametrize("client", [True, False])
def test_random_frames_crash_neither_side(client: bool) -> None:
    dice = random.Random(7)

    def some() -> bytes:
        kind = dice.choice([*map(int, Kind), 0, 200])
        id = dice.choice([0, 1, 2, 3, dice.getrandbits(32)])
        payload = dice.choice([b"", dice.randbytes(4), dice.randbytes(dice.randrange(64)), OPEN[5:]])
        return bytes([kind]) + id.to_bytes(4, "big") + payload

    @on_loop
    async def check() -> None:
        for _ in range(FRAMES // 10):
            await feed([some() for _ in range(10)], client=client)

    check()
