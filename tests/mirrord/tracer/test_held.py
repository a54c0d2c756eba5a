import asyncio
import errno
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Thread
from typing import Any, Final

import pytest
from mirrord_seccomp.notify import NotificationId, Responder

from mirrord.syscall import Call, Elsewhere, Fail, Gone, Return, Verdict, Wait
from mirrord.tracer import held as module
from mirrord.tracer.gate import Answers, Gate
from mirrord.tracer.held import HeldCalls
from mirrord.tracer.itself import carry_out_itself
from mirrord.tracer.signals import pending

from .puppet import Puppet, filtered, nr

PAUSE: Final = "libc.ppoll(None, 0, None, None) and -ctypes.get_errno()"
SYNC: Final = f"call({nr('fsync')}, 1000)"


class Counting(Responder):
    """Counts what is asked and answered by it."""

    __slots__ = ("continued", "looks")

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.looks = 0
        self.continued = 0

    def valid(self, id: NotificationId) -> bool:
        self.looks += 1
        return super().valid(id)

    def send_continue(self, id: NotificationId) -> bool:
        self.continued += 1
        return super().send_continue(id)


@dataclass
class Scene:
    """A puppet whose fsync and ppoll wait for what the test says."""

    puppet: Puppet
    responder: Counting
    held: HeldCalls
    warnings: list[str]
    answers: "asyncio.Queue[Verdict | Exception]"
    begun: list[Call] = field(default_factory=list)
    cancelled: list[Call] = field(default_factory=list)

    async def hear(self) -> Any:
        return await asyncio.to_thread(self.puppet.hear)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    async def answer(self, call: Call) -> Verdict:
        self.begun.append(call)
        try:
            given = await self.answers.get()
        except asyncio.CancelledError:
            self.cancelled.append(call)
            raise
        if isinstance(given, Exception):
            raise given
        return given


def play(story: Callable[[Scene], Awaitable[None]], *, interruptible: bool = False) -> None:
    async def main() -> None:
        with filtered("fsync", "ppoll") as (puppet, listener):
            loop = asyncio.get_running_loop()
            warnings: list[str] = []
            responder = Counting(listener.fd)
            itself = partial(carry_out_itself, warn=warnings.append)
            held = HeldCalls(loop, Answers(responder, itself), warn=warnings.append)
            scene = Scene(puppet, responder, held, warnings, asyncio.Queue())

            def handler(call: Call) -> Verdict:
                return Wait(lambda: scene.answer(call), interruptible=interruptible)

            handlers = {nr(name): handler for name in ("fsync", "ppoll")}
            gate = Gate(listener, handlers, {}, hold=held.hold, warn=warnings.append)
            thread = Thread(target=gate.serve)
            thread.start()
            try:
                await story(scene)
            finally:
                os.kill(puppet.pid, signal.SIGKILL)
                await asyncio.to_thread(thread.join, 10)
                await scene.until(lambda: not held._tasks)
                gate.threads.forget_all()
                held._threads.forget_all()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "result"),
    [
        (Return(7), 7),
        (Fail(errno.EIO), -errno.EIO),
        (OSError(errno.ENOENT, "x"), -errno.ENOENT),
        (OSError("without an errno"), -errno.EBADF),
        (Gone(), -errno.EBADF),
    ],
)
def test_a_call_is_answered_when_the_answer_is_there(given: Verdict | Exception, result: int) -> None:
    async def story(scene: Scene) -> None:
        scene.puppet.tell(SYNC)
        await scene.until(lambda: scene.begun)
        scene.answers.put_nowait(given)
        assert await scene.hear() == result
        assert scene.warnings == []

    play(story)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), Elsewhere("there")])
def test_an_answer_that_fails_lets_the_call_go_on_with_a_line(error: Exception) -> None:
    async def story(scene: Scene) -> None:
        scene.puppet.tell(SYNC)
        scene.answers.put_nowait(error)
        assert await scene.hear() == -errno.EBADF
        assert len(scene.warnings) == 1

    play(story)


def test_writes_of_an_answer_reach_the_program() -> None:
    async def story(scene: Scene) -> None:
        at = scene.puppet("page(b'-----')")
        scene.puppet.tell(SYNC)
        scene.answers.put_nowait(Return(2, ((at, b"ab"),)))
        assert await scene.hear() == 2
        assert scene.puppet(f"ctypes.string_at({at}, 3)") == b"ab-"

    play(story)


def test_several_calls_are_held_at_once() -> None:
    async def story(scene: Scene) -> None:
        scene.puppet("done = []")
        thread = f"threading.Thread(target=lambda: done.append({SYNC}), daemon=True)"
        scene.puppet(f"kept.extend({thread} for _ in range(5))")
        scene.puppet("[thread.start() for thread in kept] and None")
        await scene.until(lambda: len(scene.begun) == 5)
        for value in range(5):
            scene.answers.put_nowait(Return(value))
        scene.puppet.tell("[thread.join() for thread in kept] and sorted(done)")
        assert await scene.hear() == [0, 1, 2, 3, 4]

    play(story)


def test_the_work_for_a_killed_thread_is_cancelled() -> None:
    async def story(scene: Scene) -> None:
        scene.puppet.tell(SYNC)
        await scene.until(lambda: scene.begun)
        os.kill(scene.puppet.pid, signal.SIGKILL)
        await scene.until(lambda: scene.cancelled and not scene.held._tasks)
        assert len(scene.cancelled) == 1
        assert scene.warnings == []

    play(story)


def test_an_interruptible_call_goes_on_at_a_signal() -> None:
    async def story(scene: Scene) -> None:
        scene.puppet("[signal.signal(signal.SIGUSR1, lambda *_: kept.append('seen'))] and None")
        scene.puppet.tell(PAUSE)
        await scene.until(lambda: scene.begun)
        os.kill(scene.puppet.pid, signal.SIGUSR1)
        assert await scene.hear() == -errno.EINTR, "what the kernel says of such a call"
        assert scene.puppet("kept") == ["seen"]
        assert len(scene.cancelled) == 1
        assert scene.responder.continued == 1

    play(story, interruptible=True)


def test_a_signal_that_the_program_ignores_interrupts_nothing() -> None:
    async def story(scene: Scene) -> None:
        scene.puppet("[signal.signal(signal.SIGUSR1, signal.SIG_IGN)] and None")
        scene.puppet.tell(SYNC)
        await scene.until(lambda: scene.begun)
        os.kill(scene.puppet.pid, signal.SIGUSR1)
        looks = scene.responder.looks
        await scene.until(lambda: scene.responder.looks > looks + 3)
        assert scene.cancelled == []
        scene.answers.put_nowait(Return(7))
        assert await scene.hear() == 7

    play(story, interruptible=True)


def test_another_call_waits_for_its_answer_whatever_signal_comes() -> None:
    async def story(scene: Scene) -> None:
        scene.puppet("[signal.signal(signal.SIGUSR1, lambda *_: kept.append('seen'))] and None")
        scene.puppet.tell(SYNC)
        await scene.until(lambda: scene.begun)
        os.kill(scene.puppet.pid, signal.SIGUSR1)
        assert pending(scene.puppet.pid)
        looks = scene.responder.looks
        await scene.until(lambda: scene.responder.looks > looks + 3)
        assert (scene.cancelled, scene.responder.continued) == ([], 0)
        scene.answers.put_nowait(Return(7))
        assert await scene.hear() == 7
        assert scene.puppet("kept") == ["seen"], "the handler runs after the call"

    play(story)


def test_nothing_is_looked_at_while_nothing_is_held() -> None:
    async def story(scene: Scene) -> None:
        scene.puppet.tell(SYNC)
        scene.answers.put_nowait(Return(7))
        await scene.hear()
        await scene.until(lambda: scene.held._watch is None)

    play(story)


def test_threads_are_looked_at_afresh_when_told() -> None:
    async def story(scene: Scene) -> None:
        at = scene.puppet("page(b'-')")
        fetched: list[bytes] = []

        async def look(call: Call) -> Verdict:
            fetched.append(call.read(at, 1))
            return Return(1)

        for forget in (lambda: scene.held.forget_thread(scene.puppet.pid), scene.held.forget_threads):
            scene.puppet.tell(SYNC)
            await scene.until(lambda: scene.begun)
            await look(scene.begun.pop())
            assert scene.held._threads._threads
            await asyncio.to_thread(forget)
            await scene.until(lambda: not scene.held._threads._threads)
            scene.answers.put_nowait(Return(1))
            await scene.hear()
        assert fetched == [b"-", b"-"]

    play(story)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK", 0.001)
