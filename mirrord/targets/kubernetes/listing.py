"""What there is to impersonate in a namespace: for ``mirrord ls``."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from kubernetes.aio.client.exceptions import ApiException

from mirrord.errors import TargetError
from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.choose import SIDECARS, container_names
from mirrord.targets.kubernetes.manifest import LABELS
from mirrord.targets.kubernetes.objects import KINDS, Metadata, Pod, Workload

_FORBIDDEN: Final = 403
_ABSENT: Final = 404


@dataclass(frozen=True, slots=True)
class Listed:
    """One target, and whether it can be impersonated now."""

    path: str
    available: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that ``mirrord ls`` may print."""

    namespace: str
    targets: list[Listed] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    """Kinds that this user may not list."""


async def look(access: Access, namespace: str, kinds: Iterable[str], *, all_namespaces: bool) -> Found:
    """Return what there is of these kinds, in their order; raise TargetError."""
    found = Found(namespace)
    parts = await asyncio.gather(*(_of_kind(access, kind, found) for kind in kinds))
    found.targets.extend(one for part in parts for one in part)
    if all_namespaces:
        found.namespaces.extend(await _namespaces(access, namespace))
    return found


async def _of_kind(access: Access, name: str, found: Found) -> list[Listed]:
    kind = KINDS[name]
    try:
        with asking("list", kind.resource, found.namespace):
            items = (await access.get(kind.path(found.namespace)))["items"]
    except TargetError as error:
        if _status(error) == _FORBIDDEN:
            found.forbidden.append(name)
        elif _status(error) != _ABSENT:
            # Argo's kind is absent where Argo is
            raise
        return []
    if name == "pod":
        listed = [one for item in items for one in _pod(Pod.model_validate(item))]
    else:
        listed = [one for item in items for one in _workload(name, Workload.model_validate(item))]
    return sorted(listed, key=lambda one: one.path)


def _workload(name: str, workload: Workload) -> Iterator[Listed]:
    """Give a workload, unless it belongs to another, is an agent, or has no pods."""
    kind, metadata = KINDS[name], workload.metadata
    no_pods = name == "service" and not workload.spec.get("selector")
    if not metadata.owner_references and not _ours(metadata) and not no_pods:
        yield Listed(
            f"{name}/{metadata.name}", not kind.available or bool(workload.status.get(kind.available))
        )


def _pod(pod: Pod) -> Iterator[Listed]:
    """Give a pod, or its containers where one of several has to be chosen."""
    path = f"pod/{pod.metadata.name}"
    names = [name for name in container_names(pod) if name not in SIDECARS]
    if _ours(pod.metadata):
        return
    if len(names) < 2:
        yield Listed(path, pod.ready)
    else:
        yield from (Listed(f"{path}/container/{name}", pod.ready) for name in names)


def _ours(metadata: Metadata) -> bool:
    """Tell an agent from what users have."""
    return metadata.labels.items() >= LABELS.items()


async def _namespaces(access: Access, namespace: str) -> list[str]:
    """Return the names of all namespaces, only ours where they may not be listed."""
    try:
        with asking("list", "namespaces", None):
            items = (await access.get("/api/v1/namespaces"))["items"]
    except TargetError as error:
        if _status(error) != _FORBIDDEN:
            raise
        return [namespace]
    return [item["metadata"]["name"] for item in items]


def _status(error: TargetError) -> int:
    """Return the HTTP status that is behind an error, 0 if there is none."""
    cause = error.__cause__
    return int(cause.status or 0) if isinstance(cause, ApiException) else 0
