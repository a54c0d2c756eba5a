import asyncio
import errno
import os
import socket

import pytest
from mirrord_agent.incoming import Incoming
from mirrord_agent.wire.channel import RequestFailed
from mirrord_agent.wire.messages import Done, Subscribe, Unsubscribe

from .mirror.test_copies import Taker
from .namespace import in_namespace
from .running import joined, on_loop, until
from .steal.scene import PORT, Client, ask, left, serve
from .test_incoming import Handler

FILTER = '{"path_filter": "^/mine"}'


@in_namespace
@on_loop
async def test_a_port_is_stolen_until_it_is_not() -> None:
    servers = serve("original")
    handler = Handler()
    before = Client()
    assert await asyncio.to_thread(before.ask, "before") == "original:before"
    async with joined(handler) as pair:
        taker = Taker(pair)
        assert left() == []
        for _ in range(2):
            await pair.client.request(Subscribe(port=PORT, mode="steal", flush=True), Done)
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(before.ask, "before")
        client = Client()
        client.socket.sendall(b"hello")
        await until(lambda: [copy.data for copy in taker.copies] == [b"hello"])
        assert handler.incoming.counts == {"connections": 1, "connections reset": 1}
        for _ in range(2):
            await pair.client.request(Unsubscribe(port=PORT), Done)
        assert await asyncio.to_thread(ask, "after") == "original:after"
        await pair.client.request(Subscribe(port=PORT, mode="steal"), Done)
        client.close()
    # the client has gone: what is the original's is given back at once, and nothing is left in the end
    assert await asyncio.to_thread(ask, "after") == "original:after"
    before.close()
    await handler.incoming.drained()
    assert left() == []
    for server in servers:
        server.close()


@in_namespace
@on_loop
async def test_the_tables_socket_takes_the_reserved_place() -> None:
    reserved = os.open(os.devnull, os.O_RDONLY)
    handler = Handler()
    handler.incoming = Incoming(reserved=reserved)
    async with joined(handler) as pair:
        await pair.client.request(Subscribe(port=PORT, mode="steal"), Done)
        with socket.socket(fileno=os.dup(reserved)) as table:
            assert table.family == socket.AF_NETLINK
        assert not os.get_inheritable(reserved)
    await handler.incoming.drained()


@on_loop
async def test_a_filter_that_is_none_is_refused() -> None:
    async with joined(Handler()) as pair:
        for text in ("{", '{"path_filter": "("}', "[]"):
            with pytest.raises(RequestFailed) as caught:
                await pair.client.request(Subscribe(port=80, mode="steal", filter=text))
            assert caught.value.errno == errno.EINVAL
