"""Starts the agents of one session, and deletes what it has created."""

import asyncio
from typing import Final

from mirrord.config.model import Settings
from mirrord.errors import TargetError
from mirrord.targets.base import Tell
from mirrord.targets.kubernetes import access, manifest
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.choose import Chosen
from mirrord.targets.kubernetes.endpoint import PodEndpoint, use_proxy
from mirrord.targets.kubernetes.ephemeral import Ephemeral
from mirrord.targets.kubernetes.job import Job
from mirrord.targets.kubernetes.manifest import Ports
from mirrord.targets.noting import Note, unnoted


class Agents:
    """Those of one session."""

    def __init__(
        self,
        way: Access,
        settings: Settings,
        *,
        place: str,
        client_key: bytes,
        tell: Tell,
        note: Note = unnoted,
    ) -> None:
        """``place`` is the namespace for Jobs, which ``note`` is told of."""
        self._way: Final = way
        self._settings: Final = settings
        self._place: Final = place
        self._client_key: Final = client_key
        self._tell: Final = tell
        self._note: Final = note
        self._created: Final[list[Job]] = []
        """What is to be deleted; those whose target has ended have gone by themselves."""
        self._proxy: asyncio.Task[bool] | None = None

    def prepare(self, namespace: str) -> None:
        """Begin to ask what :meth:`start` needs to know of the agents' namespace, while a pod is chosen."""
        self._ask_for_proxy(self._place_beside(namespace))

    async def start(self, chosen: Chosen | None) -> PodEndpoint:
        """Start an agent beside a container, or without a target, and wait for it; raise TargetError."""
        agent: Job | Ephemeral
        if self._settings.configuration.agent.ephemeral and chosen is not None:
            ports = manifest.random_ports(proxy=await self._ask_for_proxy(chosen.namespace))
            agent = await self._create_ephemeral(chosen, ports)
        else:
            ports = manifest.own_ports(proxy=await self._ask_for_proxy(self._place))
            agent = await self._create_job(chosen, ports)
        self._tell.detail(f"the agent's {agent} was created in the namespace {agent.namespace}")
        pod, key = await agent.ready(self._settings.configuration.agent.startup_timeout)
        return PodEndpoint(
            self._way,
            namespace=agent.namespace,
            pod=pod,
            container=agent.container,
            ports=ports,
            key=key,
            tell=self._tell,
        )

    def _place_beside(self, namespace: str) -> str:
        """Return where the agents for a target's namespace are."""
        return namespace if self._settings.configuration.agent.ephemeral else self._place

    def _ask_for_proxy(self, namespace: str) -> asyncio.Task[bool]:
        """Ask once whether the pod proxy may be used there."""
        if self._proxy is None:
            self._proxy = asyncio.ensure_future(use_proxy(self._way, namespace, self._tell))
        return self._proxy

    async def _create_job(self, chosen: Chosen | None, ports: Ports) -> Job:
        job = Job(self._way, manifest.new_name(), self._place, self._tell)
        # before there is an answer: it may be lost
        self._created.append(job)
        self._note(f"{job.namespace}/{job.name}")
        await job.create(
            manifest.job(job.name, self._settings, chosen, client_key=self._client_key, ports=ports)
        )
        return job

    async def _create_ephemeral(self, chosen: Chosen, ports: Ports) -> Ephemeral:
        name = manifest.new_name()
        agent = Ephemeral(self._way, name, pod=chosen.pod, namespace=chosen.namespace, tell=self._tell)
        await agent.create(
            manifest.ephemeral_container(
                name, self._settings, chosen, client_key=self._client_key, ports=ports
            )
        )
        return agent

    async def close(self) -> None:
        """Delete them all; say so if that fails."""
        if self._proxy is not None:
            self._proxy.cancel()
            await asyncio.gather(self._proxy, return_exceptions=True)
        await asyncio.gather(*map(self._delete, self._created))

    async def _delete(self, agent: Job) -> None:
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
