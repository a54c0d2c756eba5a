import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from kubernetes.aio.client import ApiClient, Configuration
from mirrord_agent.wire.websocket import WebSocket
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from mirrord.errors import LinkError, TargetError
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.credentials import Credentials
from mirrord.targets.kubernetes.forward import forwarded
from mirrord.targets.kubernetes.kubeconfig import Cluster, Kubeconfig, User

PORT: Final = 7737
GREETING: Final = PORT.to_bytes(2, "little")
Behaviour = Callable[[ServerConnection], Awaitable[None]]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function on a loop, with a limit."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await test()

    asyncio.run(limited())


@contextlib.asynccontextmanager
async def api_server(
    behave: Behaviour,
    *,
    status: int = 0,
    accepts: Sequence[str] = (),
    protocol: str | None = "v4.channel.k8s.io",
) -> AsyncIterator[tuple[Access, list[Request]]]:
    """Pretend to be an API server that connects to pods; note what it is asked."""
    asked: list[Request] = []

    def look(connection: ServerConnection, request: Request) -> Response | None:
        asked.append(request)
        if accepts and request.headers["Authorization"] not in accepts:
            return connection.respond(401, "who?\n")
        return connection.respond(status, "no\n") if status else None

    protocols = [Subprotocol(protocol)] if protocol else None
    options = {"subprotocols": protocols, "max_size": None, "compression": None}
    async with serve(behave, "127.0.0.1", 0, process_request=look, **options) as server:  # type: ignore[arg-type]
        port = next(iter(server.sockets)).getsockname()[1]
        settings = Configuration(host=f"http://127.0.0.1:{port}")
        client = ApiClient(settings)
        us = Kubeconfig(Cluster(server=settings.host), User(token="secret"), "default")
        access = Access(client, settings, "default", Credentials(us, lambda certificate, key: None))
        try:
            yield access, asked
        finally:
            await access.close()


def renewing(folder: Path) -> Credentials:
    """Return credentials whose plugin gives the token ``old`` first, and then ``new``."""
    version = "client.authentication.k8s.io/v1"
    plugin = folder / "plugin"
    said = json.dumps({"apiVersion": version, "status": {"token": "old"}})
    plugin.write_text(f"#!/bin/sh\necho '{said}'\nsed -i s/old/new/ $0\n")
    plugin.chmod(0o755)
    user = User.model_validate({"exec": {"command": str(plugin), "apiVersion": version}})
    return Credentials(
        Kubeconfig(Cluster(server="http://127.0.0.1"), user, "default"), lambda certificate, key: None
    )


async def agent(connection: ServerConnection) -> None:
    """Serve one of our websockets inside the forwarded port: send back every message."""
    loop = asyncio.get_running_loop()
    inside = WebSocket(loop, client=False)
    reader_end, writer_end = await _pipe(inside)
    await connection.send(b"\0" + GREETING)
    await connection.send(b"\1" + GREETING)

    async def outwards() -> None:
        while data := await reader_end.read(65_536):
            await connection.send(b"\0" + data)

    copying = loop.create_task(outwards())
    echoing = loop.create_task(_echo(inside))
    async for message in connection:
        assert isinstance(message, bytes)
        assert message[0] == 0
        writer_end.write(message[1:])
        await writer_end.drain()
    for task in (copying, echoing):
        task.cancel()
    await asyncio.gather(copying, echoing, return_exceptions=True)
    writer_end.close()
    inside.abort("the test has ended")
    await inside.wait_closed()


async def _pipe(protocol: WebSocket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    import socket

    ours, theirs = socket.socketpair()
    await asyncio.get_running_loop().create_connection(lambda: protocol, sock=theirs)
    return await asyncio.open_connection(sock=ours)


async def _echo(inside: WebSocket) -> None:
    await inside.opened()
    inside.prove()
    while True:
        inside.send(bytes(await inside.receive()))


async def opened(access: Access) -> WebSocket:
    websocket = await forwarded(access, "prod", "agent-1", PORT)
    websocket.prove()
    return websocket


@pytest.mark.parametrize("size", [0, 1, 200_000, 1_000_000])
def test_messages_arrive_whole(size: int) -> None:
    message = bytes(index % 251 for index in range(size))

    async def check() -> None:
        async with api_server(agent) as (access, asked):
            websocket = await opened(access)
            for _ in range(3):
                websocket.send(message)
            assert [bytes(await websocket.receive()) for _ in range(3)] == [message] * 3
            websocket.close("done")
            await websocket.wait_closed()
        (request,) = asked
        assert request.path == "/api/v1/namespaces/prod/pods/agent-1/portforward?ports=7737"
        assert request.headers["Authorization"] == "Bearer secret"

    run(check)


def test_an_agent_that_is_not_there_is_explained() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.send(b"\0" + GREETING)
        await connection.send(b"\1" + GREETING)
        await connection.send(b"\1connection refused\n")
        await connection.wait_closed()

    async def check() -> None:
        async with api_server(refuse) as (access, _):
            with pytest.raises(LinkError, match="the node could not reach the agent: connection refused"):
                await opened(access)

    run(check)


def test_an_api_server_that_goes_away_is_explained() -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.send(b"\0" + GREETING)
        await connection.close(1011, "restarting")

    async def check() -> None:
        async with api_server(leave) as (access, _):
            with pytest.raises(LinkError, match=r"the API server closed the connection: .*restarting"):
                await opened(access)

    run(check)


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (403, TargetError, "not allowed to create pods/portforward in the namespace prod; ask for"),
        (404, LinkError, "the API server refused to forward to the agent: 404"),
    ],
)
def test_a_refusal_is_explained(status: int, kind: type[Exception], sentence: str) -> None:
    async def check() -> None:
        async with api_server(agent, status=status) as (access, _):
            with pytest.raises(kind, match=sentence):
                await opened(access)

    run(check)


def test_a_server_that_is_not_there_is_explained() -> None:
    async def check() -> None:
        settings = Configuration(host="http://127.0.0.1:1")
        access = Access(ApiClient(settings), settings, "default")
        with pytest.raises(LinkError, match="cannot be reached through the API server"):
            await opened(access)
        await access.close()

    run(check)


def test_a_server_that_does_not_know_us_any_more_is_asked_again_with_new_credentials(tmp_path: Path) -> None:
    async def check() -> None:
        async with api_server(agent, accepts=("Bearer new",)) as (access, asked):
            websocket = await forwarded(
                replace(access, credentials=renewing(tmp_path)), "prod", "agent-1", PORT
            )
            websocket.close("done")
            await websocket.wait_closed()
            assert [one.headers["Authorization"] for one in asked] == ["Bearer old", "Bearer new"]
            with pytest.raises(LinkError, match="refused to forward to the agent: 401"):
                await forwarded(access, "prod", "agent-1", PORT)
            assert len(asked) == 3

    run(check)
