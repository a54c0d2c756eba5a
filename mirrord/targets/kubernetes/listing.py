"""What there is to impersonate in a namespace: for ``mirrord ls``."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from kubernetes.aio.client import AppsV1Api, BatchV1Api, CoreV1Api, CustomObjectsApi, V1ObjectMeta, V1Pod
from kubernetes.aio.client.exceptions import ApiException

from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.choose import SIDECARS, container_names
from mirrord.targets.kubernetes.manifest import LABELS

_FORBIDDEN: Final = 403
_ABSENT: Final = 404


@dataclass(frozen=True, slots=True)
class Listed:
    """One target, and whether it can be impersonated now."""

    path: str
    available: bool


class Listing:
    """Lists the targets of one namespace."""

    def __init__(self, access: Access, namespace: str) -> None:
        self._core: Final = CoreV1Api(access.client)
        self._apps: Final = AppsV1Api(access.client)
        self._batch: Final = BatchV1Api(access.client)
        self._custom: Final = CustomObjectsApi(access.client)
        self._namespace: Final = namespace
        self.forbidden: Final[list[str]] = []
        """Kinds that this user may not list."""

    async def targets(self, kinds: Iterable[str]) -> list[Listed]:
        """Return the targets of these kinds, in their order; raise TargetError."""
        ways: dict[str, Callable[[], Awaitable[list[Listed]]]] = {
            "pod": self._pods,
            "deployment": self._deployments,
            "statefulset": self._stateful_sets,
            "daemonset": self._daemon_sets,
            "replicaset": self._replica_sets,
            "job": self._jobs,
            "cronjob": self._cron_jobs,
            "service": self._services,
            "rollout": self._rollouts,
        }
        found = await asyncio.gather(*(self._allowed(kind, ways[kind]) for kind in kinds))
        return [one for part in found for one in part]

    async def namespaces(self) -> list[str]:
        """Return the names of all namespaces, only ours where they may not be listed."""
        try:
            with asking("list", "namespaces", None):
                items = (await self._core.list_namespace()).items
        except Exception as error:
            if not _is(error, _FORBIDDEN):
                raise
            return [self._namespace]
        return [str(item.metadata.name) for item in items if item.metadata]

    async def _allowed(self, kind: str, way: Callable[[], Awaitable[list[Listed]]]) -> list[Listed]:
        try:
            with asking("list", f"{kind}s", self._namespace):
                return sorted(await way(), key=lambda one: one.path)
        except Exception as error:
            if _is(error, _ABSENT):
                # Argo's kinds, where Argo is not
                return []
            if not _is(error, _FORBIDDEN):
                raise
            self.forbidden.append(kind)
            return []

    async def _pods(self) -> list[Listed]:
        pods = (await self._core.list_namespaced_pod(self._namespace)).items
        return [one for pod in pods for one in _of_pod(pod)]

    async def _deployments(self) -> list[Listed]:
        items = (await self._apps.list_namespaced_deployment(self._namespace)).items
        return [
            _listed("deployment", item, bool(item.status and item.status.available_replicas))
            for item in items
        ]

    async def _stateful_sets(self) -> list[Listed]:
        items = (await self._apps.list_namespaced_stateful_set(self._namespace)).items
        return [
            _listed("statefulset", item, bool(item.status and item.status.ready_replicas)) for item in items
        ]

    async def _daemon_sets(self) -> list[Listed]:
        items = (await self._apps.list_namespaced_daemon_set(self._namespace)).items
        return [_listed("daemonset", item, bool(item.status and item.status.number_ready)) for item in items]

    async def _replica_sets(self) -> list[Listed]:
        items = (await self._apps.list_namespaced_replica_set(self._namespace)).items
        return [
            _listed("replicaset", item, bool(item.status and item.status.ready_replicas))
            for item in _without_owner(items)
        ]

    async def _jobs(self) -> list[Listed]:
        items = (await self._batch.list_namespaced_job(self._namespace)).items
        return [
            _listed("job", item, bool(item.status and item.status.ready))
            for item in _without_owner(items)
            if not _ours(item.metadata)
        ]

    async def _cron_jobs(self) -> list[Listed]:
        items = (await self._batch.list_namespaced_cron_job(self._namespace)).items
        return [_listed("cronjob", item, bool(item.status and item.status.active)) for item in items]

    async def _services(self) -> list[Listed]:
        items = (await self._core.list_namespaced_service(self._namespace)).items
        return [_listed("service", item, True) for item in items if item.spec and item.spec.selector]

    async def _rollouts(self) -> list[Listed]:
        found: Any = await self._custom.list_namespaced_custom_object(
            "argoproj.io", "v1alpha1", self._namespace, "rollouts"
        )
        return [
            Listed(
                f"rollout/{item['metadata']['name']}", bool(item.get("status", {}).get("availableReplicas"))
            )
            for item in found["items"]
        ]


def _is(error: Exception, status: int) -> bool:
    cause = error.__cause__
    return isinstance(cause, ApiException) and cause.status == status


def _listed(kind: str, item: Any, available: bool) -> Listed:
    return Listed(f"{kind}/{item.metadata.name}", available)


def _without_owner(items: Iterable[Any]) -> Iterator[Any]:
    return (item for item in items if not item.metadata.owner_references)


def _ours(metadata: V1ObjectMeta | None) -> bool:
    """Tell an agent from what users have."""
    return metadata is not None and (metadata.labels or {}).items() >= LABELS.items()


def _of_pod(pod: V1Pod) -> Iterator[Listed]:
    """Give a pod, or its containers where one of several has to be chosen."""
    metadata, status = pod.metadata, pod.status
    if metadata is None or status is None or _ours(metadata):
        return
    ready = any(one.type == "Ready" and one.status == "True" for one in status.conditions or ())
    available = ready and metadata.deletion_timestamp is None
    names = [name for name in container_names(pod) if name not in SIDECARS]
    if len(names) < 2:
        yield Listed(f"pod/{metadata.name}", available)
    else:
        yield from (Listed(f"pod/{metadata.name}/container/{name}", available) for name in names)


KINDS: Final = (
    "deployment",
    "statefulset",
    "daemonset",
    "replicaset",
    "job",
    "cronjob",
    "rollout",
    "service",
    "pod",
)
"""What is listed unless something else is asked for, in this order."""


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that ``mirrord ls`` may print."""

    targets: list[Listed]
    namespace: str
    namespaces: list[str]
    forbidden: list[str]


async def look(access: Access, namespace: str, kinds: Iterable[str], *, all_namespaces: bool) -> Found:
    """Return what there is; raise TargetError."""
    listing = Listing(access, namespace)
    targets = await listing.targets(kinds)
    namespaces = await listing.namespaces() if all_namespaces else []
    return Found(targets, namespace, namespaces, listing.forbidden)
