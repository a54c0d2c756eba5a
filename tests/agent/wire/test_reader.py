import asyncio
import os

import pytest
from mirrord_agent.wire.errors import ChannelClosed, StreamReset
from mirrord_agent.wire.stream import WINDOW

from ..running import Recorder, joined, on_loop, until, write_all


@on_loop
async def test_a_reader_reads_to_the_end() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        sender = Recorder(theirs)
        data = os.urandom(3 * WINDOW)
        reading = asyncio.create_task(ours.reader().read_all(at_most=3 * WINDOW))
        await write_all(theirs, data, sender)
        theirs.fin()
        assert await reading == data
        await until(lambda: theirs.closed)


@on_loop
async def test_a_reader_does_not_read_more_than_it_may() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        sender = Recorder(theirs)
        theirs.write(b"12345")
        with pytest.raises(ValueError, match="more than 4 bytes"):
            await ours.reader().read_all(at_most=4)
        await until(lambda: sender.resets)


@on_loop
async def test_a_reader_is_told_of_a_reset_after_the_data() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        reader = ours.reader()
        theirs.write(b"half")
        theirs.reset(5)
        assert bytes(await reader.read()) == b"half"
        with pytest.raises(StreamReset) as caught:
            await reader.read()
        assert caught.value.errno == 5


@on_loop
async def test_a_reader_is_told_why_the_channel_closed() -> None:
    async with joined() as pair:
        ours, _ = await pair.streams()
        reading = asyncio.create_task(ours.reader().read())
        await asyncio.sleep(0)
        pair.agent.close("the pod is gone")
        with pytest.raises(ChannelClosed, match="the pod is gone"):
            await reading
