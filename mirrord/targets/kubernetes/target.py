"""A pod of a cluster as a session's target."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from mirrord.config.model import Settings
from mirrord.config.target import TARGETLESS, parse_cluster_target
from mirrord.targets.base import Replica, Tell
from mirrord.targets.kubernetes import manifest
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.agents import Agents, access_of
from mirrord.targets.kubernetes.choose import Chosen, Pods, choose
from mirrord.targets.kubernetes.endpoint import PodEndpoint, use_proxy
from mirrord.targets.kubernetes.replicas import Replicas
from mirrord.targets.noting import Note, unnoted

_STARTING: Final = ("starting the agent", "to start the agent")


class KubernetesTarget:
    """See :class:`mirrord.targets.base.Target`."""

    def __init__(self, settings: Settings, tell: Tell, note: Note = unnoted) -> None:
        self._settings: Final = settings
        self._wanted: Final = parse_cluster_target(settings.target)
        self._tell: Final = tell
        self._note: Final = note
        self._access: Access | None = None
        self._agents: Agents | None = None
        self._replicas: Replicas | None = None
        self.label: str = str(self._wanted)
        self.pod: str = self.label
        self.probes: Mapping[int, str] = {}
        self.ports: Sequence[int] = ()

    async def start_agent(self, client_key: bytes) -> PodEndpoint:
        """Choose a pod, start an agent there and wait for it; raise TargetError."""
        way, namespace, place = await self._look()
        self._agents = agents = Agents(
            way, self._settings, place=place, client_key=client_key, tell=self._tell, note=self._note
        )
        if self._wanted.kind == TARGETLESS:
            self.label = f"{self.label} (namespace {place})"
            self._tell.step(*_STARTING)
            return await agents.start(None)
        agents.prepare(namespace)
        pods, (first, *others) = await self._choose(way, namespace)
        self._replicas = Replicas(way, pods, agents, self._tell)
        self._replicas.follow(first, others)
        self._tell.step(*_STARTING)
        return await agents.start(first)

    async def replicas(self) -> Sequence[Replica]:
        """See :class:`mirrord.targets.base.Target`."""
        return () if self._replicas is None else await self._replicas.ready()

    async def later_replicas(self) -> AsyncIterator[Replica]:
        """See :class:`mirrord.targets.base.Target`."""
        if self._replicas is not None:
            async for replica in self._replicas.later():
                yield replica

    async def leaving(self) -> None:
        """See :class:`mirrord.targets.base.Target`."""
        if self._replicas is None:
            await asyncio.get_running_loop().create_future()
        else:
            await self._replicas.leaving()

    async def successor(self) -> Replica | None:
        """See :class:`mirrord.targets.base.Target`."""
        return None if self._replicas is None else await self._replicas.successor()

    def leads(self, pod: str) -> None:
        """See :class:`mirrord.targets.base.Target`."""
        self.pod = pod
        if self._replicas is not None:
            self._replicas.leads(pod)

    async def manifest(self, client_key: bytes) -> dict[str, Any]:
        """Return what :meth:`start_agent` would create, and create nothing; raise TargetError."""
        way, namespace, place = await self._look()
        chosen = None
        if self._wanted.kind != TARGETLESS:
            _, (chosen, *_) = await self._choose(way, namespace)
        name = manifest.new_name()
        if self._is_ephemeral and chosen is not None:
            ports = manifest.random_ports(proxy=await use_proxy(way, chosen.namespace, self._tell))
            return manifest.ephemeral_container(
                name, self._settings, chosen, client_key=client_key, ports=ports
            )
        ports = manifest.own_ports(proxy=await use_proxy(way, place, self._tell))
        job = manifest.job(name, self._settings, chosen, client_key=client_key, ports=ports)
        return {**job, "metadata": {**job["metadata"], "namespace": place}}

    @property
    def _is_ephemeral(self) -> bool:
        return self._settings.configuration.agent.ephemeral

    async def _look(self) -> tuple[Access, str, str]:
        """Return the way to the cluster, the target's namespace, and that for a Job."""
        configuration = self._settings.configuration
        self._access = way = await access_of(self._settings)
        namespace = configuration.target.namespace or way.namespace
        return way, namespace, configuration.agent.namespace or namespace

    async def _choose(self, way: Access, namespace: str) -> tuple[Pods, list[Chosen]]:
        pods, chosen = await choose(way, self._wanted, namespace)
        first = chosen[0]
        self.pod, self.label, self.probes, self.ports = first.pod, first.label, first.probes, first.ports
        if first.others:
            self._tell.info(
                f"the container is {first.container}; there are also {', '.join(first.others)}: "
                "name one by `/container/NAME`"
            )
        if len(chosen) > 1:
            self._tell.info(
                f"{self._wanted} has {len(chosen)} pods: incoming traffic is that of all, "
                "everything else is the first one's"
            )
        return pods, chosen

    async def close(self) -> None:
        """Delete the agents; say so if that fails."""
        if self._replicas is not None:
            await self._replicas.close()
        if self._agents is not None:
            await self._agents.close()
        if self._access is not None:
            await self._access.close()
