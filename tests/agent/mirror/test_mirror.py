import asyncio
import errno
import random

import pytest
from mirrord_agent.mirror import mirror as module
from mirrord_agent.mirror.mirror import Mirror
from mirrord_agent.wire.messages import PacketsLost

from ..running import joined, on_loop, until
from ..test_linux import needs_root
from .test_capture import free_port, send
from .test_copies import Taker

pytestmark = needs_root


@on_loop
async def test_what_clients_send_is_copied() -> None:
    async with joined() as pair:
        taker = Taker(pair)
        mirror = Mirror(pair.agent)
        port = free_port("127.0.0.1")
        mirror.add(port)
        sent = [random.Random(size).randbytes(size) for size in (1, 1000, 150_000)]
        for data in sent:
            await asyncio.to_thread(send, "127.0.0.1", data, port=port)
        await until(lambda: sum(copy.fins for copy in taker.copies) == 3)
        assert [copy.data for copy in taker.copies] == sent
        assert mirror.counts == {"connections": 3, "finished": 3, "bytes": sum(map(len, sent))}


@on_loop
async def test_a_removed_port_is_not_captured_any_more() -> None:
    async with joined() as pair:
        taker = Taker(pair)
        mirror = Mirror(pair.agent)
        port, other = free_port("127.0.0.1"), free_port("127.0.0.1")
        mirror.add(port)
        mirror.add(other)
        mirror.remove(port)
        send("127.0.0.1", b"gone", port=port)
        await asyncio.to_thread(send, "127.0.0.1", b"here", port=other)
        await until(lambda: [copy.fins for copy in taker.copies] == [1])
        assert taker.copies[0].data == b"here"
        mirror.remove(other)
        assert mirror._capture is None
        mirror.add(port)
        await asyncio.to_thread(send, "127.0.0.1", b"back", port=port)
        await until(lambda: len(taker.copies) == 2 and taker.copies[1].data == b"back")


@on_loop
async def test_there_is_a_limit_of_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PORTS", 2)
    async with joined() as pair:
        mirror = Mirror(pair.agent)
        mirror.add(1)
        mirror.add(2)
        with pytest.raises(OSError) as caught:
            mirror.add(3)
        assert caught.value.errno == errno.ENOSPC


@on_loop
async def test_losses_are_told() -> None:
    async with joined() as pair:
        told: list[PacketsLost] = []
        pair.client.on_event(PacketsLost, told.append)
        mirror = Mirror(pair.agent)
        mirror._packets_lost(7)
        await until(lambda: told)
        assert told == [PacketsLost(count=7)]
        assert mirror.counts == {"packets lost": 7}


@on_loop
async def test_it_ends_with_its_channel() -> None:
    async with joined() as pair:
        mirror = Mirror(pair.agent)
        mirror.add(9)
        pair.agent.close("over")
        await until(lambda: mirror._capture is None)
