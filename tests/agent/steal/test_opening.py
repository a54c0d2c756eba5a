"""Links to the local side that are being opened."""

import asyncio

from mirrord_agent.steal.opening import OpeningLink
from mirrord_agent.wire.stream import Stream

from ..running import Recorder, joined, on_loop, until
from .told import Told


@on_loop
async def test_what_is_written_before_it_is_open_is_kept_in_order() -> None:
    async with joined() as pair:
        theirs, ours = await pair.streams()
        recorder, told = Recorder(theirs), Told()
        opening: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
        link = OpeningLink(opening, told)
        link.write(b"one ")
        link.write(b"two")
        link.fin()
        assert (link.pending, link.closed) == (7, False)
        opening.set_result(ours)
        await until(lambda: recorder.fins)
        assert (recorder.data, link.pending, told.drained) == (b"one two", 0, 1)
        theirs.write(b"answer")
        theirs.fin()
        await until(lambda: told.ends)
        assert (bytes(told.data), told.ends) == (b"answer", ["eof"])


@on_loop
async def test_a_refusal_is_told_once() -> None:
    told = Told()
    opening: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
    link = OpeningLink(opening, told)
    opening.set_exception(ConnectionRefusedError(111, "Connection refused"))
    await until(lambda: told.ends)
    assert (told.ends, link.closed) == (["Connection refused"], True)


@on_loop
async def test_one_that_is_not_wanted_any_more_is_reset_or_closed_when_it_is_there() -> None:
    async with joined() as pair:
        for end, data in (("reset", b""), ("close", b"last")):
            theirs, ours = await pair.streams()
            recorder, told = Recorder(theirs), Told()
            opening: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
            link = OpeningLink(opening, told)
            link.write(b"last")
            getattr(link, end)()
            opening.set_result(ours)
            await until(lambda recorder=recorder: recorder.resets)  # type: ignore[misc]
            assert (recorder.data, told.ends, link.closed) == (data, [], True)
