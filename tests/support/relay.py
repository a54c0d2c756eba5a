"""A link between supervisor and agent that is slow, narrow, stalled or cut, and that counts requests.

The supervisor reaches it through MIRRORD_TEST_LINK; its first line names the agent's real socket.
"""

import asyncio
import collections
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from .frames import Requests

T = TypeVar("T")
_PIECE: Final = 64 * 1024
_TURNS: Final = 8
_HELD: Final = 256
"""Pieces on their way in one direction; then the sender has to wait, as with a full pipe."""


@dataclass(frozen=True, slots=True)
class Gather:
    """Answers nothing from the first request of a kind on, until that many are on their way."""

    request: str
    number: int

    def waits(self, requests: Requests) -> bool:
        """Tell whether there are some, but not enough."""
        return 0 < requests.counts[self.request] < self.number


@dataclass(slots=True)
class Quality:
    """What the link is like now; it may be changed while it is in use."""

    delay: float = 0.0
    """Seconds that every byte takes in each direction."""
    rate: float | None = None
    """Bytes per second in each direction, None for no limit."""
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared while the link is stalled."""
    gather: Gather | None = None


class Relay:
    """One relay, in a thread of its own."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, quality: Quality) -> None:
        self.path: Final = path
        self.requests: Final = Requests()
        """What was asked so far."""
        self._loop: Final = loop
        self._quality: Final = quality
        self._asked: Final = asyncio.Event()
        self._writers: Final[set[asyncio.StreamWriter]] = set()
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._server: asyncio.Server | None = None
        self.connections: int = 0
        """How many there have been."""

    @property
    def env(self) -> dict[str, str]:
        """The variables that make a session use this relay."""
        return {"MIRRORD_TEST_LINK": str(self.path)}

    def stall(self) -> None:
        """Hold everything back until told to go on."""
        self._loop.call_soon_threadsafe(self._quality.flows.clear)

    def resume(self) -> None:
        """Go on after a stall."""
        self._loop.call_soon_threadsafe(self._quality.flows.set)

    def cut(self) -> None:
        """End every connection at once, and lose what is under way; further ones are served."""
        self._loop.call_soon_threadsafe(self._abort)

    def refuse(self) -> None:
        """Cut, and accept no further connection."""
        self._loop.call_soon_threadsafe(self._refuse)

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
        self._abort()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        seen = self.requests.connected()
        try:
            with contextlib.ExitStack() as writers:
                writers.enter_context(self._open(writer))
                real = (await reader.readline()).decode().rstrip("\n")
                far_reader, far_writer = await asyncio.open_unix_connection(real)
                writers.enter_context(self._open(far_writer))
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._copy(reader, far_writer, seen.asked))
                    both.create_task(self._copy(far_reader, writer, seen.answered, answers=True))
        finally:
            self._tasks.discard(task)

    @contextlib.contextmanager
    def _open(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        """Have a connection end with the others, or in the end."""
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        seen: Callable[[bytes], None],
        *,
        answers: bool = False,
    ) -> None:
        """Copy one direction: a piece leaves its delay after it came, in order."""
        pieces: collections.deque[tuple[float, bytes]] = collections.deque()
        came, left = asyncio.Semaphore(0), asyncio.Semaphore(_HELD)

        async def deliver() -> None:
            while True:
                await came.acquire()
                due, piece = pieces.popleft()
                left.release()
                await self._wait_until(due, len(piece))
                if answers:
                    await self._gathered()
                if not piece:
                    break
                seen(piece)
                self._asked.set()
                writer.write(piece)
                await writer.drain()
            writer.write_eof()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_forgive(deliver()))
            while True:
                await left.acquire()
                piece = await _read(reader)
                pieces.append((self._loop.time() + self._quality.delay, piece))
                came.release()
                if not piece:
                    return

    async def _wait_until(self, due: float, size: int) -> None:
        await asyncio.sleep(max(0.0, due - self._loop.time()))
        if self._quality.rate is not None:
            await asyncio.sleep(size / self._quality.rate)
        await self._quality.flows.wait()

    async def _gathered(self) -> None:
        gather = self._quality.gather
        while gather is not None and gather.waits(self.requests):
            self._asked.clear()
            await self._asked.wait()

    async def close(self) -> None:
        """End what is still open."""
        self._refuse()
        for _ in range(_TURNS):
            # one that was accepted just before has its task some turns later
            await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # what was aborted is closed a turn later
        await asyncio.sleep(0)

    async def listen(self) -> None:
        """Begin to listen; both users may connect."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        self.path.chmod(0o777)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_PIECE)
    except ConnectionError:
        # an end that was cut is an end
        return b""


async def _forgive(writing: Coroutine[Any, Any, None]) -> None:
    """Let an end that is gone be gone: the other direction sees it too."""
    with contextlib.suppress(ConnectionError, OSError):
        await writing


@contextlib.contextmanager
def relay(
    path: Path, *, delay: float = 0.0, rate: float | None = None, gather: Gather | None = None
) -> Iterator[Relay]:
    """Keep a relay up at ``path``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relay")
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    quality = Quality(delay, rate, gather=gather)
    quality.flows.set()
    one = Relay(path, loop, quality)
    run(one.listen())
    try:
        yield one
    finally:
        run(one.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
