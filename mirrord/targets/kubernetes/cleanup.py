"""Finds and deletes agents that nobody uses: for ``mirrord cleanup``, and after a session was killed.

An agent that runs ends by itself when its client is gone, and Kubernetes deletes it then. What can stay is
an agent that never started, because its client was killed while it waited for it.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kubernetes.aio.client.exceptions import ApiException

from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.manifest import LABELS
from mirrord.targets.kubernetes.objects import KINDS, Workload

_KIND: Final = KINDS["job"]
_ABSENT: Final = 404
_SELECTOR: Final = ",".join(f"{key}={value}" for key, value in LABELS.items())
GRACE: Final = 120
"""Seconds for which an agent may be starting: twice the time that is waited for it by default."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The names of the Jobs that were deleted, and of those that were left alone."""

    deleted: tuple[str, ...]
    left: tuple[str, ...]


async def clean(access: Access, namespace: str, *, everything: bool) -> Cleaned:
    """Delete the agents of a namespace that nobody uses, or all; raise TargetError."""
    with asking("list", _KIND.resource, namespace):
        found = (await access.get(_KIND.path(namespace), labelSelector=_SELECTOR))["items"]
    jobs = [Workload.model_validate(item) for item in found]
    doomed = [job for job in jobs if everything or abandoned(job, datetime.now(UTC))]
    for job in doomed:
        await _delete(access, namespace, job.metadata.name)
    return Cleaned(_names(doomed), _names(job for job in jobs if job not in doomed))


async def delete(access: Access, jobs: Iterable[str]) -> None:
    """Delete Jobs that may be there, each given as NAMESPACE/NAME; raise TargetError."""
    await asyncio.gather(*(_delete(access, *job.split("/")) for job in jobs))


def abandoned(job: Workload, now: datetime) -> bool:
    """Tell whether a Job has no agent that runs, and is too old to get one."""
    begun = datetime.fromisoformat(job.metadata.creation_timestamp)
    return not job.status.get("ready") and (now - begun).total_seconds() > GRACE


def _names(jobs: Iterable[Workload]) -> tuple[str, ...]:
    return tuple(job.metadata.name for job in jobs)


async def _delete(access: Access, namespace: str, name: str) -> None:
    with asking("delete", _KIND.resource, namespace):
        try:
            await access.delete(_KIND.path(namespace, name), {"propagationPolicy": "Background"})
        except ApiException as error:
            if error.status != _ABSENT:
                raise
