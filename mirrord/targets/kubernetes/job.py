"""An agent in a Job: a pod of its own, beside the target or without one."""

import asyncio
import contextlib
from typing import Any, Final

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from mirrord.errors import TargetError
from mirrord.targets.base import Tell
from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.admission import remedy_for
from mirrord.targets.kubernetes.manifest import CONTAINER
from mirrord.targets.kubernetes.objects import EVENTS, KINDS
from mirrord.targets.kubernetes.starting import Starting, first_of, too_slow

_KIND: Final = KINDS["job"]
_ABSENT: Final = 404


class Job:
    """One Job in the cluster."""

    def __init__(self, access: Access, name: str, namespace: str, tell: Tell) -> None:
        self.name: Final = name
        self.namespace: Final = namespace
        self.container: Final = CONTAINER
        """The name of the agent's container."""
        self._access: Final = access
        self._starting: Final = Starting(access, namespace, CONTAINER, tell)
        self._created: bool = True
        """Whether it may be there: an answer may be lost, and deleting what is not there is harmless."""

    def __str__(self) -> str:
        return f"job {self.name}"

    async def create(self, manifest: dict[str, Any]) -> None:
        """Create it; raise TargetError."""
        with asking("create", _KIND.resource, self.namespace):
            try:
                await self._access.create(_KIND.path(self.namespace), manifest)
            except ApiException:
                self._created = False
                raise

    async def delete(self, access: Access | None = None) -> None:
        """Delete it and its pod, unless it is known not to be there; raise TargetError.

        Another ``access`` is for when the first does not work any more.
        """
        if not self._created:
            return
        options = {"propagationPolicy": "Background"}
        with asking("delete", _KIND.resource, self.namespace):
            try:
                await (access or self._access).delete(_KIND.path(self.namespace, self.name), options)
            except ApiException as error:
                if error.status != _ABSENT:
                    raise
        self._created = False

    async def ready(self, patience: float) -> tuple[str, bytes]:
        """Wait until its agent is ready; return its pod's name and the agent's public key.

        Raise TargetError with the reason that Kubernetes gives as soon as there is one.
        """
        starting = self._starting
        agent = starting.ready(labelSelector=f"job-name={self.name}")
        try:
            async with asyncio.timeout(patience):
                return await first_of(agent, self._refused(), starting.remind())
        except TimeoutError:
            raise too_slow(self._starting, patience) from None

    async def _refused(self) -> tuple[str, bytes]:
        """Wait until the cluster refuses to create the pod, and raise TargetError; without the permission to
        see events, wait for nothing.
        """
        fields = f"involvedObject.kind=Job,involvedObject.name={self.name}"
        with contextlib.suppress(ApiException, aiohttp.ClientError):
            async for _, event in self._access.watch(EVENTS.path(self.namespace), fieldSelector=fields):
                if event.get("reason") == "FailedCreate":
                    said = str(event.get("message", "")).removeprefix("Error creating: ")
                    raise TargetError(
                        f"the cluster refuses the agent's pod: {said}",
                        remedy=remedy_for(said),
                    )
        never: asyncio.Future[tuple[str, bytes]] = asyncio.get_running_loop().create_future()
        return await never
