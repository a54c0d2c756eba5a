import asyncio
import errno

import pytest
from mirrord_agent.incoming import Incoming
from mirrord_agent.wire.channel import Channel, RequestFailed
from mirrord_agent.wire.messages import Done, Reply, Request, Subscribe, Unsubscribe

from .mirror.test_capture import free_port, send
from .mirror.test_copies import Taker
from .running import joined, on_loop, until
from .test_linux import needs_root


class Handler:
    def __init__(self) -> None:
        self.incoming = Incoming()

    async def __call__(self, request: Request, channel: Channel) -> Reply:
        if isinstance(request, Subscribe):
            return await self.incoming.subscribe(request, channel)
        assert isinstance(request, Unsubscribe)
        return await self.incoming.unsubscribe(request, channel)


@needs_root
@on_loop
async def test_a_subscribed_port_is_copied_until_it_is_not() -> None:
    handler = Handler()
    async with joined(handler) as pair:
        taker = Taker(pair)
        port = free_port("127.0.0.1")
        assert handler.incoming.counts == {}
        for _ in range(2):
            await pair.client.request(Subscribe(port=port), Done)
        await asyncio.to_thread(send, "127.0.0.1", b"one", port=port)
        await until(lambda: [copy.fins for copy in taker.copies] == [1])
        assert handler.incoming.counts["connections"] == 1
        for _ in range(2):
            await pair.client.request(Unsubscribe(port=port), Done)
        await asyncio.to_thread(send, "127.0.0.1", b"two", port=port)
        await pair.client.request(Subscribe(port=port), Done)
        await asyncio.to_thread(send, "127.0.0.1", b"three", port=port)
        await until(lambda: [copy.data for copy in taker.copies] == [b"one", b"three"])


@on_loop
async def test_stealing_is_refused() -> None:
    async with joined(Handler()) as pair:
        with pytest.raises(RequestFailed) as caught:
            await pair.client.request(Subscribe(port=80, mode="steal"))
        assert caught.value.errno == errno.EOPNOTSUPP
