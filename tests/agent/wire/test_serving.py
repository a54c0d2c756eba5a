import asyncio
import errno

import pytest
from mirrord_agent.wire import messages, serving
from mirrord_agent.wire.channel import Channel, RequestFailed
from mirrord_agent.wire.frames import Kind, encode
from mirrord_agent.wire.messages import Done, GetHostname, Hostname, OpenTcp, Reply, Request, Stat
from mirrord_agent.wire.websocket import WebSocket

from ..running import Recorder, Waiting, joined, on_loop, until


@pytest.mark.parametrize(
    ("raised", "number"),
    [
        (RequestFailed(errno.ECONNREFUSED), errno.ECONNREFUSED),
        (PermissionError(errno.EACCES, "no"), errno.EACCES),
        (OSError("no errno"), errno.EIO),
    ],
)
def test_an_error_arrives_as_its_errno(raised: Exception, number: int) -> None:
    async def failing(request: Request, channel: Channel) -> Reply:
        raise raised

    @on_loop
    async def check() -> None:
        async with joined(failing) as pair:
            with pytest.raises(RequestFailed) as caught:
                await pair.client.request(GetHostname(), Hostname)
            assert caught.value.errno == number

    check()


@on_loop
async def test_a_handlers_fault_is_told_and_the_link_lives(capsys: pytest.CaptureFixture[str]) -> None:
    async def faulty(request: Request, channel: Channel) -> Reply:
        raise LookupError("a fault")

    async with joined(faulty) as pair:
        for _ in range(2):
            with pytest.raises(RequestFailed):
                await pair.client.request(GetHostname())
    assert capsys.readouterr().err.count("LookupError: a fault") == 2


@on_loop
async def test_a_slow_request_holds_no_other() -> None:
    waiting = Waiting()

    async def mixed(request: Request, channel: Channel) -> Reply:
        return await waiting(request, channel) if isinstance(request, Stat) else Done()

    async with joined(mixed) as pair:
        slow = asyncio.create_task(pair.client.request(Stat(path=b"/"), Done))
        for _ in range(100):
            await pair.client.request(GetHostname(), Done)
        assert (waiting.begun, slow.done()) == (1, False)
        waiting.go.set()
        await slow


@on_loop
async def test_cancelling_cancels_the_work() -> None:
    waiting = Waiting()
    async with joined(waiting) as pair:
        request = asyncio.create_task(pair.client.request(Stat(path=b"/"), Done))
        await until(lambda: waiting.begun)
        request.cancel()
        await until(lambda: waiting.cancelled)
        assert pair.agent.requests_served == 0
        assert pair.client.reason is None


@on_loop
async def test_a_request_that_is_cancelled_in_the_same_breath_leaves_nothing() -> None:
    waiting = Waiting()
    async with joined(waiting) as pair:
        ours = Recorder(pair.client.open_stream())
        request = OpenTcp(stream=ours.stream.id, host="", port=0)
        pair.client_socket.send(encode(Kind.REQUEST, 1, messages.encode(request)))
        pair.client_socket.send(encode(Kind.CANCEL, 1))
        pair.client.send(Kind.REQUEST, 2, messages.encode(GetHostname()))
        await until(lambda: waiting.cancelled == 1 and pair.agent.requests_served == 1)
        assert (waiting.begun, pair.agent.open_streams) == (2, 0)


@on_loop
async def test_requests_at_once_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MOST_REQUESTS", 3)
    async with joined(Waiting()) as pair:
        for id in range(1, 5):
            pair.client.send(Kind.REQUEST, id, messages.encode(GetHostname()))
        assert "more than 3 requests at once" in await pair.client.closed


@on_loop
async def test_what_needs_no_wait_is_answered_in_the_same_step() -> None:
    def at_once(request: Request, channel: Channel) -> Reply:
        return Done()

    socket = WebSocket(asyncio.get_running_loop(), client=False)
    sent: list[bytes] = []
    socket.send = lambda message: sent.append(bytes(message))  # type: ignore[method-assign] # there is no peer
    channel = Channel(socket, client=False, handler=at_once)
    channel.start()
    assert socket.on_message is not None
    socket.on_message(encode(Kind.REQUEST, 7, messages.encode(GetHostname())))
    assert (sent, channel.requests_served) == ([encode(Kind.REPLY, 7, messages.encode(Done()))], 0)
    channel.close("the test has ended")


def test_an_error_at_once_arrives_as_its_errno() -> None:
    def failing(request: Request, channel: Channel) -> Reply:
        raise PermissionError(errno.EACCES, "no")

    @on_loop
    async def check() -> None:
        async with joined(failing) as pair:
            ours = Recorder(pair.client.open_stream())
            with pytest.raises(RequestFailed) as caught:
                await pair.client.request(OpenTcp(stream=ours.stream.id, host="", port=0), Done)
            assert caught.value.errno == errno.EACCES
            assert pair.agent.open_streams == 0

    check()
