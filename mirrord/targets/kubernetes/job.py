"""One agent's Job: created, waited for, deleted. What keeps it from starting is told once it is known."""

import asyncio
import contextlib
import re
from typing import Any, Final

import aiohttp
from kubernetes.aio.client.exceptions import ApiException

from mirrord.errors import TargetError
from mirrord.targets.base import Tell
from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.manifest import CONTAINER
from mirrord.targets.kubernetes.objects import EVENTS, KINDS, ContainerStatus, Pod, PodStatus

_READY: Final = re.compile(rb"mirrord-agent (\S+) ready key=([0-9a-f]{64})\s*")
_HOPELESS: Final = {
    "ErrImagePull": "check `agent.image`, and `agent.image_pull_secrets` for a private registry",
    "ImagePullBackOff": "check `agent.image`, and `agent.image_pull_secrets` for a private registry",
    "InvalidImageName": "correct `agent.image`",
    "ErrImageNeverPull": "load the image into the node, or let it be pulled: `agent.image_pull_policy`",
    "CreateContainerConfigError": "",
    "CreateContainerError": "",
    "RunContainerError": "",
}
"""Why a container may wait for ever, and what to do about it."""
_POLICY: Final = (
    "run the agent in a namespace that allows host namespaces and capabilities: `agent.namespace` or "
    "`--agent-namespace`"
)


class Job:
    """One Job in the cluster."""

    def __init__(self, access: Access, name: str, namespace: str, tell: Tell) -> None:
        self.name: Final = name
        self.namespace: Final = namespace
        self._access: Final = access
        self._tell: Final = tell
        self._created: bool = True
        """Whether it may be there: an answer may be lost, and deleting what is not there is harmless."""
        self._state: str = "its pod has not been created"
        """What was last seen of it, for people."""

    async def create(self, manifest: dict[str, Any]) -> None:
        """Create it; raise TargetError."""
        with asking("create", "jobs.batch", self.namespace):
            try:
                await self._access.create(KINDS["job"].path(self.namespace), manifest)
            except ApiException:
                self._created = False
                raise

    async def delete(self) -> None:
        """Delete it and its pod, unless it is known not to be there; raise TargetError."""
        if not self._created:
            return
        options = {"propagationPolicy": "Background"}
        with asking("delete", "jobs.batch", self.namespace):
            try:
                await self._access.delete(KINDS["job"].path(self.namespace, self.name), options)
            except ApiException as error:
                if error.status != 404:
                    raise
        self._created = False

    async def ready(self, patience: float) -> tuple[str, bytes]:
        """Wait until its agent is ready; return its pod's name and the agent's public key.

        Raise TargetError with the reason that Kubernetes gives as soon as there is one.
        """
        events = asyncio.ensure_future(self._refused())
        agent = asyncio.ensure_future(self._agent())
        try:
            async with asyncio.timeout(patience):
                await asyncio.wait((events, agent), return_when=asyncio.FIRST_COMPLETED)
                if not agent.done():
                    await events
                return await agent
        except TimeoutError:
            raise TargetError(
                f"the agent was not ready within {patience:.0f} s: {self._state}",
                remedy="look at it with `kubectl get pods -l app=mirrord`, or give it longer: "
                "`agent.startup_timeout`",
            ) from None
        finally:
            for task in (events, agent):
                task.cancel()
            await asyncio.gather(events, agent, return_exceptions=True)

    async def _agent(self) -> tuple[str, bytes]:
        with asking("watch", "pods", self.namespace):
            name = await self._running()
        return name, await self._key(name)

    # The pod.

    async def _running(self) -> str:
        """Return its pod's name once its container has been started."""
        pods = KINDS["pod"].path(self.namespace)
        async for kind, item in self._access.watch(pods, labelSelector=f"job-name={self.name}"):
            pod = Pod.model_validate(item)
            name = pod.metadata.name
            if kind == "DELETED":
                raise TargetError(
                    f"the agent's pod {name} was deleted while it started",
                    remedy="look for a policy of the cluster that forbids it",
                )
            if self._has_started(pod.status):
                return name
        raise AssertionError("a watch does not end")

    def _has_started(self, status: PodStatus) -> bool:
        """Tell whether the container runs, or has run; raise TargetError if it never will."""
        for condition in status.conditions:
            if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
                raise TargetError(
                    f"the agent's pod cannot be scheduled: {condition.message}",
                    remedy="see `agent.node_selector` and `agent.tolerations`",
                )
        container = next(iter(status.container_statuses), None)
        if container is None:
            if status.phase == "Failed":
                raise TargetError(
                    f"the agent's pod was refused by its node: {status.message or status.reason}"
                )
            self._state = f"its pod is {status.phase}"
            return False
        self._check_waiting(container)
        return container.state.running is not None or container.state.terminated is not None

    def _check_waiting(self, status: ContainerStatus) -> None:
        waiting = status.state.waiting
        if waiting is None:
            return
        reason = waiting.reason or "waiting"
        self._state = f"its container is not running ({reason})"
        if reason in _HOPELESS:
            raise TargetError(
                f"the agent's container cannot be started: {reason}: {waiting.message or 'no more was said'}",
                remedy=_HOPELESS[reason],
            )

    # Its log.

    async def _key(self, pod: str) -> bytes:
        """Read the log up to the line that says that it is ready."""
        self._state = "it has said nothing"
        lines: list[bytes] = []
        with asking("get", "pods/log", self.namespace, pod):
            path = f"{KINDS['pod'].path(self.namespace, pod)}/log"
            async with await self._access.follow(path, container=CONTAINER, follow="true") as log:
                async for line in log.content:
                    if match := _READY.fullmatch(line):
                        self._tell.detail(f"the agent {match[1].decode()} is ready")
                        return bytes.fromhex(match[2].decode())
                    lines.append(line)
        said = lines[-1].decode(errors="replace").strip() if lines else "it said nothing"
        raise TargetError(f"the agent ended at once: {said.removeprefix('mirrord-agent: ')}")

    # What happens to the Job itself.

    async def _refused(self) -> None:
        """Wait until the cluster refuses to create the pod, and raise TargetError; without the permission to
        see events, wait for nothing.
        """
        events = EVENTS.path(self.namespace)
        fields = f"involvedObject.kind=Job,involvedObject.name={self.name}"
        with contextlib.suppress(ApiException, aiohttp.ClientError):
            async for _, event in self._access.watch(events, fieldSelector=fields):
                if event.get("reason") == "FailedCreate":
                    said = str(event.get("message", "")).removeprefix("Error creating: ")
                    raise TargetError(
                        f"the cluster refuses the agent's pod: {said}",
                        remedy=_POLICY if "PodSecurity" in said else "",
                    )
        await asyncio.get_running_loop().create_future()
