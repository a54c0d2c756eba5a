import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from kubernetes.aio.client import ApiClient, Configuration
from websockets.asyncio.server import ServerConnection

from mirrord.errors import LinkError
from mirrord.targets.kubernetes import proxied as module
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.proxied import is_direct, proxied

from .test_forward import api_server, renewing, run

PORT: Final = 7738


async def echo(connection: ServerConnection) -> None:
    """Send back every message."""
    async for message in connection:
        await connection.send(message)


def test_messages_go_straight_through() -> None:
    async def check() -> None:
        async with api_server(echo, protocol=None) as (access, asked):
            websocket = await proxied(access, "prod", "agent-1", PORT)
            websocket.prove()
            for size in (0, 1, 900_000):
                websocket.send(bytes(size))
                assert bytes(await websocket.receive()) == bytes(size)
            websocket.close("done")
            await websocket.wait_closed()
        (request,) = asked
        assert request.path == "/api/v1/namespaces/prod/pods/https:agent-1:7738/proxy/"
        assert request.headers["Authorization"] == "Bearer secret"
        assert request.headers["Host"].startswith("127.0.0.1:")

    run(check)


@pytest.mark.parametrize("status", [403, 502, 503])
def test_a_refusal_is_explained(status: int) -> None:
    async def check() -> None:
        async with api_server(echo, status=status, protocol=None) as (access, _):
            with pytest.raises(LinkError, match=f"does not reach the agent: .*HTTP {status}"):
                await proxied(access, "prod", "agent-1", PORT)

    run(check)


def test_a_server_that_is_not_there_is_explained() -> None:
    async def check() -> None:
        settings = Configuration(host="http://127.0.0.1:1")
        access = Access(ApiClient(settings), settings, "default")
        with pytest.raises(LinkError, match=r"cannot be reached by the API server's pod proxy: .*failed"):
            await proxied(access, "prod", "agent-1", PORT)
        await access.close()

    run(check)


def test_a_pod_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)

    async def check() -> None:
        ended = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(4096):
                continue
            writer.close()
            ended.set()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            settings = Configuration(host=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            access = Access(ApiClient(settings), settings, "default")
            with pytest.raises(LinkError, match="no answer within"):
                await proxied(access, "prod", "agent-1", PORT)
            await ended.wait()
            await access.close()

    run(check)


@pytest.mark.parametrize(
    ("proxy", "variable", "direct"),
    [(None, None, True), ("http://proxy:3128", None, False), (None, "http://proxy:3128", False)],
)
def test_it_does_not_pass_a_proxy(
    proxy: str | None, variable: str | None, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv("https_proxy", variable)

    async def check() -> None:
        settings = Configuration(host="https://cluster:6443")
        settings.proxy = proxy
        access = Access(ApiClient(settings), settings, "default")
        assert is_direct(access) is direct
        await access.close()

    run(check)


def test_a_server_that_does_not_know_us_any_more_is_asked_again_with_new_credentials(tmp_path: Path) -> None:
    async def check() -> None:
        async with api_server(echo, accepts=("Bearer new",), protocol=None) as (access, asked):
            with_a_plugin = replace(access, credentials=renewing(tmp_path))
            websocket = await proxied(with_a_plugin, "prod", "agent-1", PORT)
            websocket.close("done")
            await websocket.wait_closed()
            assert [one.headers["Authorization"] for one in asked] == ["Bearer old", "Bearer new"]
            # what is all that there is is not tried twice
            with pytest.raises(LinkError, match="HTTP 401"):
                await proxied(access, "prod", "agent-1", PORT)
            assert len(asked) == 3

    run(check)
