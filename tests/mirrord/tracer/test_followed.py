"""The engine that follows, as a session uses it."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from mirrord.errors import AttachError
from mirrord.syscall import CONTINUE, Call, Handler, Return, Verdict, Wait
from mirrord.tracer import followed as module
from mirrord.tracer.attachable import is_traced_by, tracer_of
from mirrord.tracer.followed import Followed, FollowingEngine

from ...support.waiting import until
from .puppet import Puppet, held_up, puppet
from .test_following import FSYNC, NATIVE, decisions


@dataclass
class Session:
    """An engine, and what it told."""

    engine: FollowingEngine
    ends: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def attach(self, handler: Handler, pid: int, *others: int) -> Followed:
        return await self.engine.attach(
            pid,
            lambda: others,
            decisions({"fsync": handler}),
            ended=lambda: self.ends.append("end"),
            failed=self.failures.append,
        )


def run(scene: Callable[[Session], Awaitable[None]]) -> None:
    async def main() -> None:
        warned: list[str] = []
        engine = FollowingEngine(asyncio.get_running_loop(), skipped=frozenset(), warn=warned.append)
        await scene(Session(engine))
        assert warned == []
        until("the bell has ended", lambda: tracer_of(engine._bell.pid) == 0)

    asyncio.run(main())


async def say(one: Puppet, code: str = FSYNC) -> object:
    return await asyncio.to_thread(one, code)


def test_calls_are_decided_until_it_lets_go() -> None:
    async def scene(session: Session) -> None:
        found = await session.attach(lambda call: Return(9), one.pid)
        assert found.threads == {one.pid: 1}
        assert found.stopped is not None
        assert await say(one) == 9
        await session.engine.let_go()
        assert tracer_of(one.pid) == 0
        assert await say(one) == NATIVE
        assert (session.ends, session.failures) == (["end"], [])

    with puppet() as one:
        run(scene)


def test_who_traces_is_known() -> None:
    async def scene(session: Session) -> None:
        await session.attach(lambda call: CONTINUE, one.pid)
        assert is_traced_by(one.pid, os.getpid())
        assert not is_traced_by(one.pid, one.pid)
        await session.engine.let_go()
        assert not is_traced_by(one.pid, os.getpid())

    with puppet() as one:
        run(scene)


def test_a_call_that_waits_is_the_kernels_in_the_end() -> None:
    waiting: list[Call] = []

    async def wait() -> Verdict:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    def handler(call: Call) -> Verdict:
        waiting.append(call)
        return Wait(wait)

    async def scene(session: Session) -> None:
        await session.attach(handler, one.pid)
        one.tell(FSYNC)
        while not waiting:
            await asyncio.sleep(0)
        await session.engine.let_go()
        assert await asyncio.to_thread(one.hear) == NATIVE

    with puppet() as one:
        run(scene)


def test_the_end_of_the_process_is_told() -> None:
    async def scene(session: Session) -> None:
        await session.attach(lambda call: CONTINUE, one.pid)
        one.tell("os._exit(3)")
        while not session.ends:
            await asyncio.sleep(0.001)
        await session.engine.let_go()

    with puppet() as one:
        run(scene)


def test_one_that_cannot_be_attached_to_is_refused_and_another_is_left_out() -> None:
    async def refused(session: Session) -> None:
        with pytest.raises(AttachError, match="has ended meanwhile"):
            await session.attach(lambda call: CONTINUE, ended.pid)

    async def left_out(session: Session) -> None:
        found = await session.attach(lambda call: Return(9), one.pid, ended.pid)
        assert (list(found.threads), list(found.refused)) == ([one.pid], [ended.pid])
        assert await say(one) == 9
        await session.engine.let_go()

    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    run(refused)
    with puppet() as one:
        run(left_out)


def test_one_that_cannot_be_stopped_yet_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(session: Session) -> None:
        found = await session.attach(lambda call: Return(9), one.pid)
        assert found.stopped is None
        go_on()
        assert await asyncio.to_thread(one.hear) > 0
        assert await say(one) == 9
        await session.engine.let_go()

    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    with puppet() as one, held_up(one) as go_on:
        run(scene)
