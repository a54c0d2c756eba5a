"""Streams as links: credit, what is kept, how they end."""

import asyncio

from mirrord_agent.steal.stream_link import StreamLink
from mirrord_agent.wire.stream import WINDOW

from ..running import Recorder, joined, on_loop, until, write_all
from .told import Told


@on_loop
async def test_a_stream_takes_what_it_has_credit_for() -> None:
    async with joined() as pair:
        theirs, ours = await pair.streams()
        recorder = Recorder(theirs, consume=False)
        told = Told()
        link = StreamLink(ours, told)
        data = bytes(range(256)) * 4096
        link.write(data)
        link.fin()
        assert link.pending == len(data) - WINDOW
        await until(lambda: recorder.size == WINDOW)
        theirs.consumed(WINDOW)
        # from here on as it comes
        while recorder.size < len(data):
            before = recorder.size
            await until(lambda before=before: recorder.size > before)  # type: ignore[misc]
            theirs.consumed(recorder.size - before)
        await until(lambda: recorder.fins)
        assert recorder.data == data
        assert told.drained > 0
        assert link.pending == 0


@on_loop
async def test_a_stopped_stream_gives_no_credit_back() -> None:
    async with joined() as pair:
        theirs, ours = await pair.streams()
        recorder = Recorder(theirs)
        told = Told()
        link = StreamLink(ours, told)
        link.read(False)
        writing = asyncio.ensure_future(write_all(theirs, b"x" * (3 * WINDOW), recorder))
        await until(lambda: len(told.data) == WINDOW)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(told.data) == WINDOW
        link.read(True)
        await writing
        theirs.fin()
        await until(lambda: told.ends)
        assert (len(told.data), told.ends) == (3 * WINDOW, ["eof"])


@on_loop
async def test_streams_end_as_they_are_told() -> None:
    async with joined() as pair:
        theirs, ours = await pair.streams()
        recorder, told = Recorder(theirs), Told()
        link = StreamLink(ours, told)
        link.write(b"last")
        link.close()
        assert link.closed
        await until(lambda: recorder.resets)
        assert (recorder.data, recorder.fins, told.ends) == (b"last", 1, [])
        theirs, ours = await pair.streams()
        recorder, told = Recorder(theirs), Told()
        link = StreamLink(ours, told)
        link.reset()
        await until(lambda: recorder.resets)
        assert (recorder.fins, link.closed) == (0, True)


@on_loop
async def test_a_stream_says_why_it_was_lost() -> None:
    for number, reason in ((0, "the local program closed the connection"), (111, "Connection refused")):
        async with joined() as pair:
            theirs, ours = await pair.streams()
            Recorder(theirs)
            told = Told()
            link = StreamLink(ours, told)
            theirs.reset(number)
            await until(lambda told=told: told.ends)  # type: ignore[misc]
            assert told.ends == [reason]
            assert link.closed
