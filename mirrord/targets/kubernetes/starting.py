"""Waits for an agent's container to start and for the agent to say its key; tells what prevents it."""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, Final

from mirrord.errors import TargetError
from mirrord.targets.base import Tell
from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.objects import KINDS, ContainerStatus, Pod, PodStatus

_READY: Final = re.compile(rb"mirrord-agent (\S+) ready key=([0-9a-f]{64})\s*")
_IMAGE: Final = "check `agent.image`, and `agent.image_pull_secrets` for a private registry"
_HOPELESS: Final = {
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "InvalidImageName": "correct `agent.image`",
    "ErrImageNeverPull": "load the image into the node, or let it be pulled: `agent.image_pull_policy`",
    "CreateContainerConfigError": "",
    "CreateContainerError": "",
    "RunContainerError": "",
}
"""Why a container may wait for ever, and what to do about it."""


REMINDER: Final = 10.0
"""Seconds after which the user is told, again and again, what is waited for."""


class Starting:
    """One agent that is about to start, in a container of this name."""

    def __init__(self, access: Access, namespace: str, container: str, tell: Tell) -> None:
        self._access: Final = access
        self._namespace: Final = namespace
        self._container: Final = container
        self._tell: Final = tell
        self.state: str = "its pod has not been created"
        """What was last seen of it, for people."""

    async def ready(self, **selector: str) -> tuple[str, bytes]:
        """Return the name of the pod and the agent's public key; raise TargetError.

        ``selector`` finds the pod, as the API has it: ``labelSelector`` or ``fieldSelector``.
        """
        with asking("watch", "pods", self._namespace):
            pod = await self._started(selector)
        return pod, await self._key(pod)

    async def remind(self) -> tuple[str, bytes]:
        """Tell the user from time to time what is waited for; return never."""
        while True:
            await asyncio.sleep(REMINDER)
            self._tell.info(f"waiting for the agent: {self.state}")

    async def _started(self, selector: dict[str, str]) -> str:
        async for kind, item in self._access.watch(KINDS["pod"].path(self._namespace), **selector):
            pod = Pod.model_validate(item)
            if kind == "DELETED":
                raise TargetError(
                    f"the agent's pod {pod.metadata.name} was deleted while it started",
                    remedy="look for a policy of the cluster that forbids it",
                )
            if self._has_started(pod.status):
                return pod.metadata.name
        raise AssertionError("a watch does not end")

    def _has_started(self, status: PodStatus) -> bool:
        """Tell whether the container runs, or has run; raise TargetError if it never will."""
        for condition in status.conditions:
            if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
                raise TargetError(
                    f"the agent's pod cannot be scheduled: {condition.message}",
                    remedy="see `agent.node_selector`, `agent.tolerations` and `agent.resources`",
                )
        statuses = (*status.container_statuses, *status.ephemeral_container_statuses)
        container = next((one for one in statuses if one.name == self._container), None)
        if container is None:
            if status.phase == "Failed":
                raise TargetError(
                    f"the agent's pod was refused by its node: {status.message or status.reason}",
                    remedy="where the node has no room, ask for less: `agent.resources`",
                )
            self.state = f"its pod is {status.phase}"
            return False
        self._check_waiting(container)
        return container.state.running is not None or container.state.terminated is not None

    def _check_waiting(self, status: ContainerStatus) -> None:
        waiting = status.state.waiting
        if waiting is None:
            return
        reason = waiting.reason or "waiting"
        self.state = f"its container is not running ({reason})"
        if reason in _HOPELESS:
            raise TargetError(
                f"the agent's container cannot be started: {reason}: {waiting.message or 'no more was said'}",
                remedy=_HOPELESS[reason],
            )

    async def _key(self, pod: str) -> bytes:
        """Read the log up to the line that says that it is ready."""
        self.state = "it has said nothing"
        lines: list[bytes] = []
        path = f"{KINDS['pod'].path(self._namespace, pod)}/log"
        with asking("get", "pods/log", self._namespace, pod):
            async with await self._access.follow(path, container=self._container, follow="true") as log:
                async for line in log.content:
                    if match := _READY.fullmatch(line):
                        self._tell.detail(f"the agent {match[1].decode()} is ready")
                        return bytes.fromhex(match[2].decode())
                    lines.append(line)
        said = lines[-1].decode(errors="replace").strip() if lines else "it said nothing"
        raise TargetError(f"the agent ended at once: {said.removeprefix('mirrord-agent: ')}")


def too_slow(starting: Starting, patience: float) -> TargetError:
    """Return the error for an agent that was not ready in time."""
    return TargetError(
        f"the agent was not ready within {patience:.0f} s: {starting.state}",
        remedy="look at its pod with `kubectl describe pod`, or give it longer: `agent.startup_timeout`",
    )


async def first_of(*coroutines: Coroutine[Any, Any, tuple[str, bytes]]) -> tuple[str, bytes]:
    """Return the result, or raise the error, of what is done first, and cancel the rest."""
    waiting = [asyncio.ensure_future(one) for one in coroutines]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return next(one for one in waiting if one in done).result()
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
