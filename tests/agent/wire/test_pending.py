import asyncio

import pytest
from mirrord_agent.wire import messages
from mirrord_agent.wire.errors import ChannelClosed, WireError
from mirrord_agent.wire.frames import Frame, Kind, RequestId
from mirrord_agent.wire.messages import Done, MessageError
from mirrord_agent.wire.pending import Pending

from ..running import on_loop

LAST = 2**32 - 1


def reply(id: int, payload: bytes = b'{"type":"done"}') -> Frame:
    """Return a REPLY frame."""
    return Frame(Kind.REPLY, id, memoryview(payload))


@on_loop
async def test_a_reply_finds_its_request() -> None:
    pending = Pending(asyncio.get_running_loop())
    (one, first), (two, second) = pending.begin(), pending.begin()
    assert (one, two) == (1, 2)
    pending.take(reply(two))
    assert (first.done(), await second) == (False, Done())
    pending.take(reply(one, messages.encode(Done())))
    assert await first == Done()


@on_loop
async def test_a_reply_to_what_was_dropped_is_ignored() -> None:
    pending = Pending(asyncio.get_running_loop())
    id, future = pending.begin()
    assert pending.drop(id)
    assert not pending.drop(id)
    pending.take(reply(id))
    assert not future.done()


@pytest.mark.parametrize("id", [0, 2, LAST])
def test_a_reply_to_nothing_is_told(id: int) -> None:
    @on_loop
    async def check() -> None:
        pending = Pending(asyncio.get_running_loop())
        pending.begin()
        with pytest.raises(WireError, match=f"a reply to request {id}, which was never made"):
            pending.take(reply(id))

    check()


@on_loop
async def test_a_broken_reply_leaves_the_request_to_the_end_of_the_link() -> None:
    pending = Pending(asyncio.get_running_loop())
    id, future = pending.begin()
    with pytest.raises(MessageError):
        pending.take(reply(id, b"{}"))
    pending.fail("broken")
    with pytest.raises(ChannelClosed, match="broken"):
        await future


@on_loop
async def test_ids_come_round_and_skip_what_still_waits() -> None:
    pending = Pending(asyncio.get_running_loop())
    first, _ = pending.begin()
    pending._next = LAST
    last, _ = pending.begin()
    again, _ = pending.begin()
    assert (first, last, again) == (1, LAST, 2)
    pending.drop(RequestId(LAST))
    pending.take(reply(LAST))
