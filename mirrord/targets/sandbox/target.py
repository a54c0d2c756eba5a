"""A sandbox as a session's target."""

import asyncio
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
    def pod(self) -> str:
        """Return the same: there is one only."""
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

    async def leaving(self) -> None:
        """Wait for ever: it goes without notice."""
        await asyncio.get_running_loop().create_future()

    async def successor(self) -> None:
        """Return nothing: it is one pod."""

    def leads(self, pod: str) -> None:
        """Do nothing: no other does."""

    async def close(self) -> None:
        """End the session, and a sandbox that was made for it."""
        self._sandbox.close()
