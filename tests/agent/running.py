"""Running tests on an event loop, two channels joined to each other, and agents as processes."""

import asyncio
import functools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import pytest
from mirrord_agent.wire.channel import Channel, Data, Handler, Stream
from mirrord_agent.wire.handshake import new_key, public_bytes
from mirrord_agent.wire.messages import Done, GetHostname, OpenTcp, Reply, Request
from mirrord_agent.wire.websocket import WebSocket

from mirrord.link.client import Link, connect
from mirrord.link.endpoint import AgentEndpoint

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE: Final = 30.0
"""Seconds after which something that must happen has not."""


def on_loop(test: Callable[P, Coroutine[object, object, None]]) -> Callable[P, None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def limited() -> None:
            async with asyncio.timeout(PATIENCE):
                await test(*args, **kwargs)

        asyncio.run(limited())

    return run


async def until(condition: Callable[[], T]) -> T:
    """Return the first true value of ``condition``."""
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):
            await asyncio.sleep(0)
    return value


async def joined_websockets() -> tuple[WebSocket, WebSocket]:
    """Return the client's and the agent's end of one websocket, opened."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    _, agent = await loop.create_connection(lambda: WebSocket(loop, client=False), sock=theirs)
    _, client = await loop.create_connection(lambda: WebSocket(loop, client=True), sock=ours)
    await client.opened()
    await agent.opened()
    return client, agent


def tool(name: str) -> str:
    """Return the path of a program, also where root alone has that in its PATH; skip the test without it, or
    fail it where everything must be there.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is missing")
    return path


@dataclass
class Pair:
    """The client's and the agent's end of one link."""

    client: Channel
    agent: Channel
    client_socket: WebSocket
    agent_socket: WebSocket

    async def streams(self, *, datagrams: bool = False) -> tuple[Stream, Stream]:
        """Return both ends of a new stream; the agent must answer requests by :func:`agreeing`."""
        ours = self.client.open_datagram_stream() if datagrams else self.client.open_stream()
        await self.client.request(OpenTcp(stream=ours.id, host="", port=0), Done)
        return ours, self.agent.stream(ours.id)


async def agreeing(request: Request, channel: Channel) -> Reply:
    """Answer everything with Done."""
    return Done()


class Waiting:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = 0
        self.cancelled = 0

    async def __call__(self, request: Request, channel: Channel) -> Reply:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Done()


@asynccontextmanager
async def joined(handler: Handler | None = agreeing) -> AsyncIterator[Pair]:
    """Join two channels by a real websocket over a socket pair."""
    ours, theirs = await joined_websockets()
    for end in (ours, theirs):
        end.prove()
    client, agent = Channel(ours, client=True), Channel(theirs, client=False, handler=handler)
    pair = Pair(client, agent, ours, theirs)
    pair.client.start()
    pair.agent.start()
    try:
        yield pair
    finally:
        for channel in (pair.client, pair.agent):
            channel.close("the test has ended")
        for channel in (pair.client, pair.agent):
            await channel.wait_closed()


async def settled(pair: Pair) -> None:
    """Wait until the agent has taken, and answered, everything that was sent to it so far."""
    await pair.client.request(GetHostname(), Done)


class Recorder:
    """What happened on a stream."""

    def __init__(self, stream: Stream, *, consume: bool = True) -> None:
        self.stream: Final = stream
        self._received: Final = bytearray()
        self.pieces: Final[list[bytes]] = []
        self.fins = 0
        self.resets = 0
        self.writable = 0
        self._consume: Final = consume
        stream.bind(on_data=self._data, on_fin=self._fin, on_reset=self._reset, on_writable=self._writable)

    @property
    def data(self) -> bytes:
        """All bytes so far."""
        return bytes(self._received)

    @property
    def size(self) -> int:
        """How many bytes so far."""
        return len(self._received)

    def _data(self, data: Data) -> None:
        self._received.extend(data)
        self.pieces.append(bytes(data))
        if self._consume:
            self.stream.consumed(len(data))

    def _fin(self) -> None:
        self.fins += 1

    def _reset(self) -> None:
        self.resets += 1

    def _writable(self) -> None:
        self.writable += 1


async def write_all(stream: Stream, data: bytes, recorder: Recorder) -> None:
    """Write as credit comes."""
    view = memoryview(data)
    while view:
        await until(lambda: stream.credit or recorder.resets)
        if recorder.resets:
            return
        piece = view[: stream.credit]
        stream.write(piece)
        view = view[len(piece) :]


@dataclass
class RunningAgent:
    """An agent's process and how to reach it."""

    process: "subprocess.Popen[str]"
    path: Path
    ready: str

    @property
    def endpoint(self) -> AgentEndpoint:
        """Where it is."""
        return AgentEndpoint(str(self.path), bytes.fromhex(self.ready.rpartition("key=")[2]))

    def ended(self) -> tuple[int, str]:
        """Wait for its end and return its status and what it said."""
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said


KEY: Final = new_key()


@contextmanager
def running_agent(
    path: Path, target: int, *options: str, wrapper: tuple[str, ...] = ()
) -> Iterator[RunningAgent]:
    """Start an agent for a process and end it after."""
    command = [
        *wrapper,
        *(sys.executable, "-m", "mirrord_agent", "--target-pid", str(target)),
        *("--listen", f"unix:{path}", "--client-key", public_bytes(KEY).hex(), *options),
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield RunningAgent(process, path, process.stdout.readline().strip())
        finally:
            process.terminate()
            with suppress(ValueError):
                # a test that has looked at its end has closed the pipes
                process.communicate(timeout=PATIENCE)


@asynccontextmanager
async def linked(agent: RunningAgent) -> AsyncIterator[Link]:
    """Connect to an agent."""
    link = await connect(agent.endpoint, KEY)
    try:
        yield link
    finally:
        link.channel.close("the test has ended")
        await link.channel.wait_closed()
