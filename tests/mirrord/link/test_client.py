import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import pytest
from mirrord_agent.wire.errors import HandshakeError
from mirrord_agent.wire.handshake import PROTOCOL, AgentHandshake, refusal
from mirrord_agent.wire.messages import GetHostname, Hostname
from mirrord_agent.wire.websocket import WebSocket

from mirrord.errors import LinkError
from mirrord.link import client
from mirrord.link.client import connect, new_session_key, public_bytes
from mirrord.link.endpoint import AgentEndpoint

KEY: Final = new_session_key()
AGENT: Final = new_session_key()
Step = Callable[[WebSocket], object]


@contextmanager
def agent(path: Path) -> Iterator[AgentEndpoint]:
    """Start a real agent for this process."""
    command = [sys.executable, "-m", "mirrord_agent", "--target-pid", str(os.getpid())]
    command += ["--listen", f"unix:{path}", "--client-key", public_bytes(KEY).hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            key = bytes.fromhex(process.stdout.readline().strip().rpartition("key=")[2])
            yield AgentEndpoint(str(path), key)
        finally:
            process.terminate()


@asynccontextmanager
async def pretending(path: Path, behave: Callable[[WebSocket], object]) -> AsyncIterator[AgentEndpoint]:
    """Serve websockets and behave in some way on each."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []
    made: list[WebSocket] = []

    async def serve(websocket: WebSocket) -> None:
        await websocket.opened()
        result = behave(websocket)
        if asyncio.iscoroutine(result):
            await result

    def accept() -> WebSocket:
        websocket = WebSocket(loop, client=False)
        made.append(websocket)
        tasks.append(loop.create_task(serve(websocket)))
        return websocket

    server = await loop.create_unix_server(accept, str(path))
    try:
        yield AgentEndpoint(str(path), public_bytes(AGENT))
    finally:
        server.close()
        for websocket in made:
            websocket.abort("the test has ended")
            await websocket.wait_closed()
        await asyncio.gather(*tasks, return_exceptions=True)


def run(test: Callable[[], object]) -> None:
    """Run a coroutine function on a loop, with a limit."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await test()  # type: ignore[misc]

    asyncio.run(limited())


def test_a_link_is_opened(tmp_path: Path) -> None:
    async def check() -> None:
        link = await connect(endpoint, KEY)
        assert link.welcome.pid == os.getpid()
        hostname = await link.channel.request(GetHostname(), Hostname)
        assert hostname.name == link.welcome.hostname
        link.channel.close("done")
        await link.channel.wait_closed()

    with agent(tmp_path / "agent.sock") as endpoint:
        run(check)


def test_the_tests_relay_is_told_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        there = await asyncio.open_unix_connection(endpoint.path)
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def check() -> None:
        server = await asyncio.start_unix_server(relay, tmp_path / "relay.sock")
        async with server:
            link = await connect(endpoint, KEY)
            await link.channel.request(GetHostname(), Hostname)
            link.channel.close("done")
            await link.channel.wait_closed()
            while len(asyncio.all_tasks()) > 3:
                await asyncio.sleep(0)
        assert asked == [os.fsencode(endpoint.path) + b"\n"]

    monkeypatch.setenv(client.TEST_RELAY, str(tmp_path / "relay.sock"))
    with agent(tmp_path / "agent.sock") as endpoint:
        run(check)


def test_an_agent_that_is_not_there_is_explained(tmp_path: Path) -> None:
    async def check() -> None:
        with pytest.raises(LinkError, match=r"nobody listens at .*/none: No such file or directory"):
            await connect(AgentEndpoint(str(tmp_path / "none"), bytes(32)), KEY)

    run(check)


def test_another_agent_is_refused(tmp_path: Path) -> None:
    async def impostor(websocket: WebSocket) -> None:
        handshake = AgentHandshake(key=new_session_key(), client_key=public_bytes(KEY))
        websocket.send(handshake.answer(await websocket.receive()))

    async def check() -> None:
        async with pretending(tmp_path / "agent.sock", impostor) as endpoint:
            with pytest.raises(LinkError, match="the agent is not the one that was started"):
                await connect(endpoint, KEY)

    run(check)


def test_another_protocol_is_explained_naming_both(tmp_path: Path) -> None:
    async def newer(websocket: WebSocket) -> None:
        handshake = AgentHandshake(
            key=AGENT, client_key=public_bytes(KEY), protocol=PROTOCOL + 1, version="9.9"
        )
        with pytest.raises(HandshakeError) as caught:
            handshake.answer(await websocket.receive())
        websocket.send(refusal(caught.value))

    async def check() -> None:
        async with pretending(tmp_path / "agent.sock", newer) as endpoint:
            with pytest.raises(LinkError) as caught:
                await connect(endpoint, KEY)
        said = f"speaks protocol {PROTOCOL}, the agent 9.9 speaks protocol {PROTOCOL + 1}"
        assert said in str(caught.value)

    run(check)


@pytest.mark.parametrize(
    ("behave", "problem"),
    [
        (
            lambda websocket: websocket.send(b"noise"),
            "the agent sent something that is no agent_hello message",
        ),
        (lambda websocket: websocket.close("no reason"), "the link to the agent broke at once: no reason"),
        (lambda websocket: websocket.abort("x"), "broke at once: the other side closed the connection"),
        (lambda websocket: None, "the agent did not answer within 0 s"),
    ],
)
def test_an_agent_that_misbehaves_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behave: Step, problem: str
) -> None:
    if "did not answer" in problem:
        monkeypatch.setattr(client, "_PATIENCE", 0.2)

    async def check() -> None:
        async with pretending(tmp_path / "agent.sock", behave) as endpoint:
            with pytest.raises(LinkError, match=problem):
                await connect(endpoint, KEY)

    run(check)


def test_what_is_no_websocket_is_explained(tmp_path: Path) -> None:
    async def check() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "web.sock"))
            listener.listen()
            connecting = asyncio.create_task(
                connect(AgentEndpoint(str(tmp_path / "web.sock"), bytes(32)), KEY)
            )
            accepted, _ = await asyncio.to_thread(listener.accept)
            with accepted:
                accepted.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                with pytest.raises(LinkError, match="the websocket was refused"):
                    await connecting

    run(check)
