"""An agent in a pod, and the ways to it: the API server's pod proxy where allowed, else port-forward."""

from typing import Final

import aiohttp
from kubernetes.aio.client.exceptions import ApiException
from mirrord_agent.wire.websocket import WebSocket

from mirrord.errors import AgentGone, LinkError, TargetError
from mirrord.targets.base import Tell
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.forward import forwarded
from mirrord.targets.kubernetes.manifest import Ports
from mirrord.targets.kubernetes.objects import KINDS, Pod
from mirrord.targets.kubernetes.permissions import Permission, refused
from mirrord.targets.kubernetes.proxied import is_direct, proxied

_OVER: Final = ("Succeeded", "Failed")


async def use_proxy(access: Access, namespace: str, tell: Tell) -> bool:
    """Tell whether the API server's pod proxy may be used, and the user why not, if asked to."""
    if not is_direct(access):
        tell.detail("the agent is reached by port-forward: the API server is behind a proxy")
        return False
    if not await _allowed(access, Permission("get", "", "pods/proxy", namespace)):
        tell.detail("the agent is reached by port-forward: the verb `get` on `pods/proxy` is not allowed")
        return False
    return True


async def _allowed(access: Access, permission: Permission) -> bool:
    try:
        return not await refused(access, [permission])
    except TargetError:
        # who may not even ask has the other way
        return False


class PodEndpoint:
    """See :class:`mirrord.link.endpoint.Endpoint`."""

    def __init__(
        self,
        access: Access,
        *,
        namespace: str,
        pod: str,
        container: str,
        ports: Ports,
        key: bytes,
        tell: Tell,
    ) -> None:
        self.public_key: Final = key
        self._access: Final = access
        self._namespace: Final = namespace
        self._pod: Final = pod
        self._container: Final = container
        self._ports: Final = ports
        self._tell: Final = tell
        self._tls: int | None = ports.tls

    async def open(self) -> WebSocket:
        """Connect; raise LinkError, TargetError, or AgentGone."""
        try:
            return await self._by_proxy() or await self._by_forward()
        except LinkError:
            await self._check()
            raise

    async def _by_proxy(self) -> WebSocket | None:
        if self._tls is None:
            return None
        try:
            websocket = await proxied(self._access, self._namespace, self._pod, self._tls)
        except LinkError as error:
            self._tell.detail(str(error))
            return None
        self._tell.detail("the agent is reached through the API server's pod proxy")
        return websocket

    async def _by_forward(self) -> WebSocket:
        websocket = await forwarded(self._access, self._namespace, self._pod, self._ports.loopback)
        # what does not let the API server through now will not later either
        self._tls = None
        return websocket

    async def _check(self) -> None:
        """Raise AgentGone if its pod, or its container, has ended; nothing if that is not known."""
        path = KINDS["pod"].path(self._namespace)
        try:
            found = await self._access.get(path, fieldSelector=f"metadata.name={self._pod}")
        except (ApiException, aiohttp.ClientError, OSError, TimeoutError):
            return
        pods = [Pod.model_validate(item) for item in found["items"]]
        if not pods or pods[0].status.phase in _OVER:
            raise AgentGone(f"its pod {self._pod} is gone")
        status = pods[0].status
        for one in (*status.container_statuses, *status.ephemeral_container_statuses):
            if one.name == self._container and one.state.terminated is not None:
                raise AgentGone(f"its container in the pod {self._pod} has ended")
