"""The connection to an agent through the API server's pod proxy: a websocket straight to it.

``pods/https:NAME:PORT/proxy``: the API server copies bytes between us and the pod's address once the upgrade
is done (``k8s.io/apimachinery/pkg/util/proxy/upgradeaware.go``). Nothing is wrapped, so it is the fast way.
"""

import asyncio
import ssl
import urllib.parse
from typing import Final

from kubernetes.aio.client import Configuration
from mirrord_agent.wire.errors import ChannelClosed
from mirrord_agent.wire.websocket import WebSocket
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from mirrord.errors import LinkError
from mirrord.targets.kubernetes.access import Access

_PATIENCE: Final = 5.0
"""Seconds for the API server to reach the pod: where the network does not let it, it does not say so."""


def is_direct(access: Access) -> bool:
    """Tell whether the API server is reached without a proxy, which this way cannot pass."""
    return not access.configuration.proxy and get_proxy(parse_uri(_address(access, "/").geturl())) is None


async def proxied(access: Access, namespace: str, pod: str, port: int) -> WebSocket:
    """Connect to a port of a pod that speaks TLS; raise LinkError."""
    path = f"/api/v1/namespaces/{namespace}/pods/https:{pod}:{port}/proxy/"
    try:
        return await _opened(access, path)
    except _NotLetThrough as error:
        if not access.is_renewed_after(error.status):
            raise
    return await _opened(access, path)


class _NotLetThrough(LinkError):
    """The API server's answer is another than the agent's."""

    def __init__(self, reason: str, status: int | None) -> None:
        super().__init__(f"the API server's pod proxy does not reach the agent: {reason}")
        self.status: Final = status


async def _opened(access: Access, path: str) -> WebSocket:
    # a credential plugin may take its time
    headers = await access.headers(path)
    try:
        async with asyncio.timeout(_PATIENCE):
            return await _open(access, path, headers)
    except (OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {_PATIENCE:.0f} s"
        raise LinkError(f"the agent cannot be reached by the API server's pod proxy: {why}") from error


async def _open(access: Access, path: str, headers: dict[str, str]) -> WebSocket:
    settings: Configuration = access.configuration
    url = _address(access, path)
    loop = asyncio.get_running_loop()
    secure: ssl.SSLContext | None = access.client.rest_client.ssl_context if url.scheme == "wss" else None
    _, websocket = await loop.create_connection(
        lambda: WebSocket(loop, client=True, uri=url.geturl(), headers=headers),
        url.hostname or "",
        url.port or (443 if secure else 80),
        ssl=secure,
        server_hostname=(settings.tls_server_name or url.hostname) if secure else None,
    )
    try:
        await websocket.opened()
    except ChannelClosed as error:
        raise _NotLetThrough(error.reason, websocket.refusal) from error
    except BaseException:
        websocket.abort("it was not opened")
        raise
    return websocket


def _address(access: Access, path: str) -> urllib.parse.SplitResult:
    url = urllib.parse.urlsplit(f"{access.configuration.host}{path}")
    return url._replace(scheme="wss" if url.scheme == "https" else "ws")
