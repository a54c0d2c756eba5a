"""What a session needs to be allowed to do in a cluster, as docs/rbac.yaml has it, and whether it is."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from mirrord.config.target import TARGETLESS
from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.objects import KINDS

_PROXY: Final = "pods/proxy"
_FORWARD: Final = "pods/portforward"
_SLOWER: Final = "the agent is reached by port-forward, which is slower"
_ONLY_PROXY: Final = "the agent is reached only where the API server's pod proxy gets through to it"
_OLDER: Final = "an older API server does not let the agent be reached"
_UNTOLD: Final = "a refusal of the agent's pod is told as a time-out only"
_UNFOLLOWED: Final = "pods that come later get no agent, and that the target is being deleted is told late"
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Permission(NamedTuple):
    """A verb on a resource in a namespace."""

    verb: str
    group: str
    resource: str
    namespace: str
    loss: str = ""
    """What does not work without it; nothing if no session can be had."""

    def __str__(self) -> str:
        return f"{self.verb} {f'{self.resource}.{self.group}'.rstrip('.')} in {self.namespace}"

    def review(self) -> dict[str, Any]:
        """Return what asks for it (SelfSubjectAccessReview of authorization.k8s.io/v1)."""
        resource, _, subresource = self.resource.partition("/")
        attributes = {
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": self.namespace,
        }
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }


def wanted(kind: str, *, namespace: str, agent_namespace: str, ephemeral: bool) -> Iterator[Permission]:
    """Return what a session needs in a target of a kind, with its agent in a Job or in the pod itself."""
    if kind != TARGETLESS:
        yield Permission("get", "", "pods", namespace)
        if kind != "pod":
            yield Permission("list", "", "pods", namespace)
        if kind in KINDS and kind != "pod":
            yield Permission("get", KINDS[kind].group, KINDS[kind].plural, namespace)
    place = namespace if ephemeral else agent_namespace
    if ephemeral:
        yield Permission("patch", "", "pods/ephemeralcontainers", place)
    else:
        yield Permission("create", "batch", "jobs", place)
        yield Permission("delete", "batch", "jobs", place)
    for verb, resource, loss in (
        ("list", "pods", ""),
        ("watch", "pods", ""),
        ("get", "pods/log", ""),
        ("get", _PROXY, _SLOWER),
        ("get", _FORWARD, _ONLY_PROXY),
        ("create", _FORWARD, _OLDER),
        ("list", "events", _UNTOLD),
        ("watch", "events", _UNTOLD),
    ):
        yield Permission(verb, "", resource, place, loss)
    # last: in the agent's own namespace it is needed anyway
    if kind != TARGETLESS:
        yield Permission("watch", "", "pods", namespace, _UNFOLLOWED)


def prevents(missing: Iterable[Permission]) -> bool:
    """Tell whether no session can be had without these: one is essential, or no way to the agent is left."""
    listed = list(missing)
    ways = {one.resource for one in listed if one.verb == "get"}
    return any(not one.loss for one in listed) or {_PROXY, _FORWARD} <= ways


async def refused(access: Access, permissions: Iterable[Permission]) -> list[Permission]:
    """Return those that are not granted; raise TargetError where the server cannot be asked."""
    distinct: dict[tuple[str, ...], Permission] = {}
    for one in permissions:
        distinct.setdefault(one[:4], one)
    asked = list(distinct.values())
    with asking("create", "selfsubjectaccessreviews.authorization.k8s.io", None):
        answers = await asyncio.gather(*(access.create(_REVIEWS, one.review()) for one in asked))
    return [
        one for one, answer in zip(asked, answers, strict=True) if not answer.get("status", {}).get("allowed")
    ]
