"""One agent's Job: created, waited for, deleted. What keeps it from starting is told once it is known."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import aiohttp
from kubernetes.aio.client import (
    BatchV1Api,
    CoreV1Api,
    V1ContainerStatus,
    V1DeleteOptions,
    V1Pod,
    V1PodStatus,
)
from kubernetes.aio.client.exceptions import ApiException

from mirrord.errors import TargetError
from mirrord.targets.base import Tell
from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.manifest import CONTAINER

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
        self._core: Final = CoreV1Api(access.client)
        self._batch: Final = BatchV1Api(access.client)
        self._tell: Final = tell
        self._created: bool = True
        """Whether it may be there: an answer may be lost, and deleting what is not there is harmless."""
        self._state: str = "its pod has not been created"
        """What was last seen of it, for people."""

    async def create(self, manifest: dict[str, Any]) -> None:
        """Create it; raise TargetError."""
        with asking("create", "jobs.batch", self.namespace):
            try:
                await self._batch.create_namespaced_job(self.namespace, manifest)  # type: ignore[arg-type]
            except ApiException:
                self._created = False
                raise

    async def delete(self) -> None:
        """Delete it and its pod, unless it is known not to be there; raise TargetError."""
        if not self._created:
            return
        options = V1DeleteOptions(propagation_policy="Background")
        with asking("delete", "jobs.batch", self.namespace):
            try:
                await self._batch.delete_namespaced_job(self.name, self.namespace, body=options)
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
        listing = self._core.list_namespaced_pod_without_preload_content
        async for kind, item in _watch(listing, self.namespace, label_selector=f"job-name={self.name}"):
            pod = V1Pod.from_dict(item)
            name = str(pod.metadata.name) if pod is not None and pod.metadata is not None else ""
            if kind == "DELETED":
                raise TargetError(
                    f"the agent's pod {name} was deleted while it started",
                    remedy="look for a policy of the cluster that forbids it",
                )
            if pod is not None and pod.status is not None and self._has_started(pod.status):
                return name
        raise AssertionError("a watch does not end")

    def _has_started(self, status: V1PodStatus) -> bool:
        """Tell whether the container runs, or has run; raise TargetError if it never will."""
        for condition in status.conditions or ():
            if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
                raise TargetError(
                    f"the agent's pod cannot be scheduled: {condition.message}",
                    remedy="see `agent.node_selector` and `agent.tolerations`",
                )
        container = next(iter(status.container_statuses or ()), None)
        if container is None or container.state is None:
            if status.phase == "Failed":
                raise TargetError(
                    f"the agent's pod was refused by its node: {status.message or status.reason}"
                )
            self._state = f"its pod is {status.phase}"
            return False
        self._check_waiting(container)
        return container.state.running is not None or container.state.terminated is not None

    def _check_waiting(self, status: V1ContainerStatus) -> None:
        waiting = status.state.waiting if status.state is not None else None
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
            log = await self._core.read_namespaced_pod_log_without_preload_content(
                pod, self.namespace, container=CONTAINER, follow=True
            )
            async with log:
                await _check_status(log)
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
        listing = self._core.list_namespaced_event_without_preload_content
        fields = f"involvedObject.kind=Job,involvedObject.name={self.name}"
        with contextlib.suppress(ApiException, aiohttp.ClientError):
            async for _, event in _watch(listing, self.namespace, field_selector=fields):
                if event.get("reason") == "FailedCreate":
                    said = str(event.get("message", "")).removeprefix("Error creating: ")
                    raise TargetError(
                        f"the cluster refuses the agent's pod: {said}",
                        remedy=_POLICY if "PodSecurity" in said else "",
                    )
        await asyncio.get_running_loop().create_future()


async def _watch(
    listing: Callable[..., Awaitable[aiohttp.ClientResponse]], namespace: str, **selectors: str
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Give (kind, object) of what is there and of what changes, over and over; raise ApiException.

    The client's own ``Watch`` does not stop where the server answers with an error.
    """
    while True:
        response = await listing(namespace, watch=True, **selectors)
        async with response:
            await _check_status(response)
            async for line in response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    break
                yield str(event["type"]), event["object"]


async def _check_status(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        raise ApiException(
            status=response.status, reason=response.reason or "", body=(await response.read()).decode()
        )
