"""A pod of a cluster as a session's target."""

from collections.abc import Mapping
from typing import Any, Final

from mirrord.config.model import Settings
from mirrord.config.target import TARGETLESS, parse_cluster_target
from mirrord.errors import TargetError
from mirrord.targets.base import Tell
from mirrord.targets.kubernetes import access, manifest
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.choose import Chosen, choose
from mirrord.targets.kubernetes.endpoint import PodEndpoint, use_proxy
from mirrord.targets.kubernetes.ephemeral import Ephemeral
from mirrord.targets.kubernetes.job import Job
from mirrord.targets.kubernetes.manifest import Ports


class KubernetesTarget:
    """See :class:`mirrord.targets.base.Target`."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        self._settings: Final = settings
        self._wanted: Final = parse_cluster_target(settings.target)
        self._tell: Final = tell
        self._access: Access | None = None
        self._agent: Job | Ephemeral | None = None
        self.label: str = str(self._wanted)
        self.probes: Mapping[int, str] = {}

    async def start_agent(self, client_key: bytes) -> PodEndpoint:
        """Choose a pod, start an agent there and wait for it; raise TargetError."""
        way, chosen, place = await self._look()
        agent: Job | Ephemeral
        if self._is_ephemeral and chosen is not None:
            ports = manifest.random_ports(proxy=await use_proxy(way, chosen.namespace, self._tell))
            agent = await self._create_ephemeral(way, chosen, client_key, ports)
        else:
            ports = manifest.own_ports(proxy=await use_proxy(way, place, self._tell))
            agent = await self._create_job(way, chosen, client_key, place, ports)
        self._tell.detail(f"the agent's {agent} was created in the namespace {agent.namespace}")
        pod, key = await agent.ready(self._settings.configuration.agent.startup_timeout)
        if chosen is None:
            self.label = f"{self.label} (namespace {agent.namespace})"
        return PodEndpoint(
            way,
            namespace=agent.namespace,
            pod=pod,
            container=agent.container,
            ports=ports,
            key=key,
            tell=self._tell,
        )

    async def manifest(self, client_key: bytes) -> dict[str, Any]:
        """Return what :meth:`start_agent` would create, and create nothing; raise TargetError."""
        way, chosen, place = await self._look()
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

    async def _look(self) -> tuple[Access, Chosen | None, str]:
        """Return the way to the cluster, the container that is meant, and the namespace for a Job."""
        configuration = self._settings.configuration
        self._access = way = await access_of(self._settings)
        namespace = configuration.target.namespace or way.namespace
        chosen = await self._choose(way, namespace)
        return way, chosen, configuration.agent.namespace or namespace

    async def _create_job(
        self, way: Access, chosen: Chosen | None, client_key: bytes, namespace: str, ports: Ports
    ) -> Job:
        self._agent = job = Job(way, manifest.new_name(), namespace, self._tell)
        await job.create(manifest.job(job.name, self._settings, chosen, client_key=client_key, ports=ports))
        return job

    async def _create_ephemeral(
        self, way: Access, chosen: Chosen, client_key: bytes, ports: Ports
    ) -> Ephemeral:
        name = manifest.new_name()
        self._agent = agent = Ephemeral(
            way, name, pod=chosen.pod, namespace=chosen.namespace, tell=self._tell
        )
        await agent.create(
            manifest.ephemeral_container(name, self._settings, chosen, client_key=client_key, ports=ports)
        )
        return agent

    async def _choose(self, way: Access, namespace: str) -> Chosen | None:
        if self._wanted.kind == TARGETLESS:
            return None
        chosen = await choose(way, self._wanted, namespace)
        self.label, self.probes = chosen.label, chosen.probes
        if chosen.others:
            self._tell.info(
                f"the container is {chosen.container}; there are also {', '.join(chosen.others)}: "
                "name one by `/container/NAME`"
            )
        if chosen.pods > 1:
            self._tell.info(f"{self._wanted} has {chosen.pods} pods; this is the first that is ready")
        return chosen

    async def close(self) -> None:
        """Delete the Job; say so if that fails."""
        if self._access is None:
            return
        if self._agent is not None:
            await self._delete(self._agent)
        await self._access.close()

    async def _delete(self, agent: Job | Ephemeral) -> None:
        try:
            await agent.delete()
        except TargetError:
            # after hours the credentials may have expired, and another address have become the right one
            again = await access_of(self._settings)
            try:
                await agent.delete(again)
            except TargetError as error:
                self._tell.warn(
                    f"warning: the agent's {agent} could not be deleted, and goes by itself: {error}"
                )
            finally:
                await again.close()


async def access_of(settings: Settings) -> Access:
    """Return the way to the cluster that the settings name; raise UsageError."""
    configuration = settings.configuration
    return await access.connect(
        kubeconfig=configuration.kubeconfig,
        context=configuration.kube_context,
        accept_invalid_certificates=configuration.accept_invalid_certificates,
    )
