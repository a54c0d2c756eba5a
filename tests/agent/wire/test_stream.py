import asyncio
import os
from functools import partial

import pytest
from mirrord_agent.wire.frames import Data
from mirrord_agent.wire.stream import MOST_WINDOW, WINDOW

from ..running import Recorder, joined, on_loop, settled, until, write_all


@on_loop
async def test_bytes_arrive_in_order_both_ways() -> None:
    async with joined() as pair:
        ours, theirs = (Recorder(stream) for stream in await pair.streams())
        up, down = os.urandom(3 * WINDOW + 1), os.urandom(5 * WINDOW + 7)
        await asyncio.gather(write_all(ours.stream, up, ours), write_all(theirs.stream, down, theirs))
        await until(lambda: theirs.size == len(up) and ours.size == len(down))
        assert (theirs.data, ours.data) == (up, down)


@on_loop
async def test_credit_ends_and_comes_back() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        sender, receiver = Recorder(ours), Recorder(theirs, consume=False)
        assert ours.credit == WINDOW
        ours.write(bytes(WINDOW))
        assert ours.credit == 0
        with pytest.raises(ValueError, match="1 bytes written, there is credit for 0"):
            ours.write(b"x")
        await until(lambda: receiver.size == WINDOW)
        theirs.consumed(WINDOW // 4 - 1)
        await settled(pair)
        assert (ours.credit, sender.writable) == (0, 0)
        theirs.consumed(1)
        await until(lambda: ours.credit == WINDOW // 4)
        assert sender.writable == 1


@on_loop
async def test_a_stalled_stream_holds_no_other() -> None:
    async with joined() as pair:
        stalled, other = await pair.streams(), await pair.streams()
        held = Recorder(stalled[1], consume=False)
        stalled[0].write(bytes(WINDOW))
        sender, receiver = (Recorder(stream) for stream in other)
        data = os.urandom(8 * WINDOW)
        await write_all(other[0], data, sender)
        await until(lambda: receiver.data == data)
        assert held.size == WINDOW
        assert stalled[0].credit == 0


@on_loop
async def test_the_window_grows_only_for_who_keeps_up() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        sender, receiver = Recorder(ours), Recorder(theirs)
        await write_all(ours, bytes(32 * WINDOW), sender)
        await until(lambda: receiver.size == 32 * WINDOW)
        assert 0 < theirs.grown <= MOST_WINDOW - WINDOW
        assert ours.credit == WINDOW


@on_loop
async def test_the_window_does_not_grow_for_who_always_has_something_waiting() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        Recorder(ours)
        late = Recorder(theirs, consume=False)
        ours.write(bytes(WINDOW))
        await until(lambda: late.size == WINDOW)
        theirs.consumed(WINDOW - 1)
        for round in range(1, 8):
            await until(lambda: ours.credit == WINDOW - 1)
            ours.write(bytes(WINDOW - 1))
            await until(partial(arrived, late, WINDOW + round * (WINDOW - 1)))
            theirs.consumed(WINDOW - 1)
        assert theirs.grown == 0


def arrived(recorder: Recorder, size: int) -> bool:
    """Tell whether so much has arrived."""
    return recorder.size == size


@on_loop
async def test_grown_windows_have_a_common_limit() -> None:
    async with joined() as pair:
        assert pair.agent.take_window(32 * 1024 * 1024) > 0
        ours, theirs = await pair.streams()
        sender, receiver = Recorder(ours), Recorder(theirs)
        await write_all(ours, bytes(8 * WINDOW), sender)
        await until(lambda: receiver.size == 8 * WINDOW)
        assert theirs.grown == 0


@on_loop
async def test_each_side_ends_its_own_direction() -> None:
    async with joined() as pair:
        ours, theirs = (Recorder(stream) for stream in await pair.streams())
        ours.stream.write(b"question")
        ours.stream.fin()
        await until(lambda: theirs.fins)
        assert theirs.data == b"question"
        assert ours.stream.credit == 0
        theirs.stream.write(b"answer")
        theirs.stream.fin()
        await until(lambda: ours.fins)
        assert ours.data == b"answer"
        assert ours.stream.closed
        assert theirs.stream.closed
        assert (pair.client.open_streams, pair.agent.open_streams) == (0, 0)
        assert (ours.resets, theirs.resets) == (0, 0)


@on_loop
async def test_a_reset_ends_both_directions() -> None:
    async with joined() as pair:
        ours, theirs = (Recorder(stream) for stream in await pair.streams())
        theirs.stream.reset(5)
        theirs.stream.reset()
        ours.stream.write(b"under way")
        await until(lambda: ours.resets)
        await settled(pair)
        assert ours.stream.errno == 5
        assert (ours.resets, theirs.resets, theirs.data) == (1, 0, b"")
        assert (pair.client.open_streams, pair.agent.open_streams) == (0, 0)
        ours.stream.write(b"ignored")
        ours.stream.fin()
        ours.stream.consumed(1)


@on_loop
async def test_what_comes_before_the_bind_is_kept() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        ours.write(b"early ")
        ours.write(b"bird")
        ours.fin()
        await settled(pair)
        late = Recorder(theirs)
        assert (late.data, late.fins) == (b"early bird", 1)


class Seen:
    """Is shown a stream."""

    def __init__(self) -> None:
        self.shown: list[tuple[bool, bytes | None]] = []

    def data(self, data: Data, *, sent: bool) -> None:
        self.shown.append((sent, bytes(data)))

    def fin(self, *, sent: bool) -> None:
        self.shown.append((sent, None))


@on_loop
async def test_what_passes_is_shown_also_what_was_kept_or_is_dropped() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        ours.write(b"early")
        await settled(pair)
        theirs.mute()
        theirs.tap = seen = Seen()
        late = Recorder(theirs)
        ours.write(b"late")
        await until(lambda: late.data == b"earlylate")
        theirs.write(b"dropped")
        ours.fin()
        await until(lambda: late.fins)
        theirs.write(b"after")
        theirs.fin()
        told = [(False, b"early"), (False, b"late"), (True, b"dropped"), (False, None)]
        assert seen.shown == [*told, (True, b"after"), (True, None)]


@on_loop
async def test_a_reset_before_the_bind_is_told() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        ours.write(b"lost")
        ours.reset()
        await settled(pair)
        late = Recorder(theirs)
        await until(lambda: late.resets)
        assert late.data == b""


@on_loop
async def test_datagrams_are_dropped_where_there_is_no_room() -> None:
    async with joined() as pair:
        ours = pair.client.open_datagram_stream()
        for number in range(100):
            ours.write(b"%d" % number)
        assert len(ours._unsent or ()) == 64
        Recorder(ours)
        pair.client_socket.busy = True
        ours.write(b"dropped")
        pair.client_socket.busy = False
        assert len(ours._unsent or ()) == 64
        ours.write(bytes(2_000_000))
        assert pair.client.reason is None


@on_loop
async def test_a_muted_stream_takes_everything_and_sends_nothing() -> None:
    async with joined() as pair:
        ours, theirs = await pair.streams()
        here, there = Recorder(ours), Recorder(theirs)
        ours.mute()
        for _ in range(8):
            assert ours.credit == WINDOW
            ours.write(bytes(WINDOW))
        ours.fin()
        theirs.write(b"still heard")
        theirs.fin()
        await until(lambda: here.fins and there.fins)
        assert here.data == b"still heard"
        assert there.size == 0
        assert ours.closed
        assert ours.credit == WINDOW
