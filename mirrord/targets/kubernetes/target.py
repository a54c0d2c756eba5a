"""A pod of a cluster as a session's target."""

from typing import Final

from mirrord.config.model import Settings
from mirrord.config.target import TARGETLESS, parse_cluster_target
from mirrord.errors import TargetError
from mirrord.targets.base import Tell
from mirrord.targets.kubernetes import access
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.choose import Chosen, choose
from mirrord.targets.kubernetes.forward import PodEndpoint
from mirrord.targets.kubernetes.job import Job
from mirrord.targets.kubernetes.manifest import PORT, job, new_name


class KubernetesTarget:
    """See :class:`mirrord.targets.base.Target`."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        self._settings: Final = settings
        self._wanted: Final = parse_cluster_target(settings.target)
        self._tell: Final = tell
        self._access: Access | None = None
        self._job: Job | None = None
        self.label: str = str(self._wanted)

    async def start_agent(self, client_key: bytes) -> PodEndpoint:
        """Choose a pod, create the Job and wait for its agent; raise TargetError."""
        configuration = self._settings.configuration
        self._access = way = await access_of(self._settings)
        namespace = configuration.target.namespace or way.namespace
        chosen = await self._choose(way, namespace)
        place = configuration.agent.namespace or namespace
        self._job = running = Job(way, new_name(), place, self._tell)
        await running.create(job(running.name, self._settings, chosen, client_key=client_key))
        self._tell.detail(f"the agent's job {running.name} was created in the namespace {place}")
        pod, key = await running.ready(configuration.agent.startup_timeout)
        if chosen is None:
            self.label = f"{self.label} (namespace {place})"
        return PodEndpoint(way, place, pod, PORT, key)

    async def _choose(self, way: Access, namespace: str) -> Chosen | None:
        if self._wanted.kind == TARGETLESS:
            return None
        chosen = await choose(way, self._wanted, namespace)
        self.label = chosen.label
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
        if self._job is not None:
            await self._delete(self._job)
        await self._access.close()

    async def _delete(self, job: Job) -> None:
        try:
            await job.delete()
        except TargetError:
            # after hours the credentials may have expired, and another address have become the right one
            again = await access_of(self._settings)
            try:
                await Job(again, job.name, job.namespace, self._tell).delete()
            except TargetError as error:
                self._tell.warn(
                    f"warning: the agent's job {job.name} could not be deleted, and goes by itself: {error}"
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
