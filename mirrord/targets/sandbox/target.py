"""A sandbox as a session's target."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from mirrord.link.endpoint import AgentEndpoint
from mirrord.targets.base import Replica
from mirrord.targets.sandbox.launch import NamedSandbox, PrivateSandbox


class SandboxTarget:
    """See :class:`mirrord.targets.base.Target`. Nothing else goes on while it is waited for."""

    def __init__(self, sandbox: NamedSandbox | PrivateSandbox) -> None:
        self._sandbox: Final = sandbox

    @property
    def label(self) -> str:
        """Return its host name and what it is."""
        return self._sandbox.label

    @property
    def probes(self) -> Mapping[int, str]:
        """Return none: nobody watches it."""
        return {}

    @property
    def ports(self) -> tuple[int, ...]:
        """Return none: nothing in it listens of itself."""
        return ()

    async def start_agent(self, client_key: bytes) -> AgentEndpoint:
        """Start an agent; blocks for up to half a minute."""
        return self._sandbox.start_agent(client_key)

    async def replicas(self) -> tuple[Replica, ...]:
        """Return nothing: it is one pod."""
        return ()

    async def later_replicas(self) -> AsyncIterator[Replica]:
        """Give nothing."""
        for replica in await self.replicas():
            yield replica

    async def close(self) -> None:
        """End the session, and a sandbox that was made for it."""
        self._sandbox.close()
