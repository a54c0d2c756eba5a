import asyncio
import errno

import pytest
from mirrord_agent.wire.messages import Attributes, Done, Failed, Stat

from mirrord.link.ask import LINK_LOST, ask, checked, error

from .agent import FakeAgent, attributes

QUESTION = Stat(path=b"/x", follow=True)


def test_an_answer_is_given() -> None:
    async def story() -> None:
        agent = FakeAgent()
        agent.answer = lambda request: attributes()
        assert await ask(agent.channel, QUESTION, Attributes) == attributes()

    asyncio.run(story())


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ELOOP])
def test_a_failure_is_the_targets_errno(number: int) -> None:
    async def story() -> None:
        agent = FakeAgent()
        agent.answer = lambda request: Failed(errno=number)
        with pytest.raises(OSError) as caught:
            await ask(agent.channel, QUESTION, Done)
        assert caught.value.errno == number

    asyncio.run(story())


@pytest.mark.parametrize("before", [True, False])
def test_a_lost_link_is_eio(before: bool) -> None:
    async def story() -> None:
        agent = FakeAgent()
        if before:
            agent.lose()
        asked = asyncio.ensure_future(ask(agent.channel, QUESTION, Done))
        if not before:
            await agent.request()
            agent.lose()
        with pytest.raises(OSError) as caught:
            await asked
        assert caught.value.errno == LINK_LOST == errno.EIO

    asyncio.run(story())


def test_a_path_has_room_for_its_nul() -> None:
    longest = b"/" + b"x" * 4094
    assert checked(longest) == longest
    with pytest.raises(OSError) as caught:
        checked(longest + b"x")
    assert caught.value.errno == errno.ENAMETOOLONG


def test_an_errno_is_an_error_of_its_class() -> None:
    assert isinstance(error(errno.ENOENT), FileNotFoundError)
