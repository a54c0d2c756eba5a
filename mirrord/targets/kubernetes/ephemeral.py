"""An agent in an ephemeral container of the target's own pod.

It is in the pod's network already, and sees the processes of the container that it is for. It cannot be
deleted: it ends with its client, and its status stays in the pod for as long as the pod lives.
"""

import asyncio
from typing import Any, Final

from mirrord.targets.base import Tell
from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.objects import KINDS
from mirrord.targets.kubernetes.starting import Starting, first_of, too_slow

_RESOURCE: Final = "pods/ephemeralcontainers"


class Ephemeral:
    """One ephemeral container."""

    def __init__(self, access: Access, name: str, *, pod: str, namespace: str, tell: Tell) -> None:
        self.name: Final = name
        self.namespace: Final = namespace
        self.container: Final = name
        """The name of the agent's container."""
        self._access: Final = access
        self._pod: Final = pod
        self._starting: Final = Starting(access, namespace, name, tell)

    def __str__(self) -> str:
        return f"ephemeral container {self.name} of pod {self._pod}"

    async def create(self, container: dict[str, Any]) -> None:
        """Add it to the pod; raise TargetError."""
        path = f"{KINDS['pod'].path(self.namespace, self._pod)}/ephemeralcontainers"
        with asking("patch", _RESOURCE, self.namespace):
            await self._access.patch(path, {"spec": {"ephemeralContainers": [container]}})

    async def ready(self, patience: float) -> tuple[str, bytes]:
        """Wait until its agent is ready; return the pod's name and the agent's public key; raise
        TargetError.
        """
        starting = self._starting
        agent = starting.ready(fieldSelector=f"metadata.name={self._pod}")
        try:
            async with asyncio.timeout(patience):
                return await first_of(agent, starting.remind())
        except TimeoutError:
            raise too_slow(self._starting, patience) from None

    async def delete(self, access: Access | None = None) -> None:
        """Do nothing: that is for the agent."""
