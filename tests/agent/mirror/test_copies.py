import errno

import pytest
from mirrord_agent.mirror import copies as module
from mirrord_agent.mirror.copies import StreamCopy, Waiting
from mirrord_agent.wire.channel import WINDOW
from mirrord_agent.wire.messages import Address, Arrived

from ..running import Pair, Recorder, joined, on_loop, settled, until
from .making import CLIENT, SERVER


class Taker:
    """The supervisor's side: it records each copy."""

    def __init__(self, pair: Pair, *, consume: bool = True) -> None:
        self.events: list[Arrived] = []
        self.copies: list[Recorder] = []
        self._pair = pair
        self._consume = consume
        pair.client.on_event(Arrived, self._arrived)

    def _arrived(self, event: Arrived) -> None:
        self.events.append(event)
        self.copies.append(Recorder(self._pair.client.stream(event.stream), consume=self._consume))


@on_loop
async def test_a_copy_is_told_of_and_carried() -> None:
    async with joined() as pair:
        taker = Taker(pair)
        copy = StreamCopy(pair.agent, CLIENT, SERVER, Waiting())
        assert copy.data(b"hello ") == 0
        assert copy.data(b"world") == 0
        copy.fin()
        await until(lambda: taker.copies and taker.copies[0].fins)
        assert taker.events == [
            Arrived(
                stream=2,
                port=8080,
                remote=Address(host="10.1.2.3", port=40_000),
                local=Address(host="10.9.9.9", port=8080),
            )
        ]
        assert taker.copies[0].data == b"hello world"


@on_loop
async def test_more_than_a_window_waits_for_credit() -> None:
    async with joined() as pair:
        taker = Taker(pair)
        waiting = Waiting()
        copy = StreamCopy(pair.agent, CLIENT, SERVER, waiting)
        sent = b""
        for number in range(20):
            piece = bytes([number]) * 100_000
            sent += piece
            assert copy.data(piece) == 0
        copy.fin()
        await until(lambda: taker.copies and taker.copies[0].fins)
        assert taker.copies[0].data == sent
        assert waiting.size == 0


@pytest.mark.parametrize("limit", ["MOST_WAITING", "MOST_WAITING_OF_ALL"])
@on_loop
async def test_what_is_not_taken_has_a_limit(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, limit, 300_000)
    async with joined() as pair:
        taker = Taker(pair, consume=False)
        waiting = Waiting()
        copy = StreamCopy(pair.agent, CLIENT, SERVER, waiting)
        answers = [copy.data(bytes(100_000)) for _ in range(8)]
        assert answers[:3] == [0, 0, 0]
        assert answers[-1] == errno.ENOBUFS
        assert waiting.size <= 300_000
        copy.reset(errno.ENOBUFS)
        assert waiting.size == 0
        await until(lambda: taker.copies and taker.copies[0].resets)
        assert taker.copies[0].size <= WINDOW
        assert taker.copies[0].stream.errno == errno.ENOBUFS


@on_loop
async def test_a_copy_that_is_not_wanted_takes_no_more() -> None:
    async with joined() as pair:
        copy = StreamCopy(pair.agent, CLIENT, SERVER, Waiting())
        # nobody listens to the event: the stream is reset
        await settled(pair)
        await until(lambda: copy.data(b"x") == errno.ECANCELED)
        copy.reset(errno.ECANCELED)
        assert pair.agent.open_streams == 0


@on_loop
async def test_the_end_comes_after_what_waits() -> None:
    async with joined() as pair:
        taker = Taker(pair, consume=False)
        waiting = Waiting()
        copy = StreamCopy(pair.agent, CLIENT, SERVER, waiting)
        assert copy.data(bytes(WINDOW)) == 0
        assert copy.data(b"last") == 0
        copy.fin()
        await until(lambda: taker.copies and taker.copies[0].size == WINDOW)
        assert not taker.copies[0].fins
        taker.copies[0].stream.consumed(WINDOW)
        await until(lambda: taker.copies[0].fins)
        assert taker.copies[0].data[WINDOW:] == b"last"
