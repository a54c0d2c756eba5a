"""Which pod, and which of its containers, is impersonated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mirrord.config.target import ClusterTarget
from mirrord.errors import TargetError
from mirrord.targets.kubernetes.access import Access, asking
from mirrord.targets.kubernetes.objects import KINDS, ContainerStatus, Pod, Selector, Workload
from mirrord.targets.kubernetes.probes import probed_ports

_DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
SIDECARS: Final = frozenset(
    {
        "kuma-sidecar",
        "kuma-init",
        "istio-proxy",
        "istio-init",
        "linkerd-proxy",
        "linkerd-init",
        "vault-agent",
        "vault-agent-init",
        "queue-proxy",
        "traffic-agent",
    }
)
"""Containers that nobody means when they do not say which."""
_OPERATORS: Final = {"In": "in", "NotIn": "notin"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """One container of a running pod."""

    pod: str
    namespace: str
    node: str
    container: str
    id: str
    """Its 64 hexadecimal digits."""
    others: tuple[str, ...] = ()
    """Containers that might have been meant as well."""
    probes: Mapping[int, str] = field(default_factory=dict)
    """The ports that the kubelet's probes ask, and what those are called."""
    ports: tuple[int, ...] = ()
    """The TCP ports that the pod's containers name."""

    @property
    def label(self) -> str:
        """Return what to call it in front of people."""
        return f"pod/{self.pod}, container {self.container} (namespace {self.namespace})"


@dataclass(frozen=True, slots=True)
class Pods:
    """What a target's pods are found by."""

    namespace: str
    container: str | None
    query: Mapping[str, str]
    """As the API has it: ``labelSelector``, or ``fieldSelector`` for one pod."""


async def choose(access: Access, target: ClusterTarget, namespace: str) -> tuple[Pods, list[Chosen]]:
    """Find the pods that run, are ready and are not about to end, the oldest first, and at least one; raise
    TargetError.
    """
    query, pods = await _find(access, target, namespace)
    found = [(pod.metadata.name, chosen_of(pod, target.container)) for pod in pods]
    chosen = [one for _, one in found if isinstance(one, Chosen)]
    if not found:
        raise TargetError(f"{target} has no pods in the namespace {namespace}")
    if not chosen:
        reasons = "; ".join(f"{name} {reason}" for name, reason in found[:3])
        raise TargetError(f"no pod of {target} can be impersonated: {reasons}")
    return Pods(namespace, target.container, query), chosen


async def _find(
    access: Access, target: ClusterTarget, namespace: str
) -> tuple[dict[str, str], Sequence[Pod]]:
    """Return what the target's pods are found by, and the pods, the oldest first; raise TargetError."""
    pods = KINDS["pod"]
    if target.kind == "pod":
        with asking("get", "pods", namespace, target.name):
            one = Pod.model_validate(await access.get(pods.path(namespace, target.name)))
        return {"fieldSelector": f"metadata.name={target.name}"}, [one]
    query = {"labelSelector": await _selector(access, target, namespace)}
    with asking("list", "pods", namespace):
        found = (await access.get(pods.path(namespace), **query))["items"]
    return query, sorted(map(Pod.model_validate, found), key=_age)


def chosen_of(pod: Pod, container: str | None, *, ready: bool = True) -> Chosen | str:
    """Return the container of a pod that is meant, or why it cannot be impersonated; ``ready`` tells whether
    it must be.
    """
    status = _container(pod, container, ready=ready)
    return status if isinstance(status, str) else _chosen(pod, status, guessed=container is None)


def _age(item: Pod | Workload) -> tuple[str, str]:
    return item.metadata.creation_timestamp, item.metadata.name


async def _selector(access: Access, target: ClusterTarget, namespace: str) -> str:
    """Return what a workload selects its pods by, as text."""
    if target.kind == "label":
        return target.name
    kind = KINDS[target.kind]
    with asking("get", kind.resource, namespace, target.name):
        workload = Workload.model_validate(await access.get(kind.path(namespace, target.name)))
    if target.kind == "cronjob":
        workload = await _latest_job(access, workload, target, namespace)
    selector = workload.spec.get("selector") or {}
    if target.kind == "service":
        selector = {"matchLabels": selector}
    return _as_text(Selector.model_validate(selector), target)


async def _latest_job(access: Access, owner: Workload, target: ClusterTarget, namespace: str) -> Workload:
    kind = KINDS["job"]
    with asking("list", kind.resource, namespace):
        jobs = map(Workload.model_validate, (await access.get(kind.path(namespace)))["items"])
    running = [job for job in jobs if job.status.get("active") and _owned(job, owner)]
    if not running:
        raise TargetError(f"no job of {target} is running in the namespace {namespace}")
    return max(running, key=_age)


def _owned(job: Workload, owner: Workload) -> bool:
    return owner.metadata.uid in [one.uid for one in job.metadata.owner_references]


def _as_text(selector: Selector, target: ClusterTarget) -> str:
    """Return a selector in the API's text form; an empty one would select every pod."""
    parts = [_equal(selector.match_labels)] if selector.match_labels else []
    for rule in selector.match_expressions:
        if rule.operator in _OPERATORS:
            parts.append(f"{rule.key} {_OPERATORS[rule.operator]} ({','.join(rule.values)})")
        else:
            parts.append(rule.key if rule.operator == "Exists" else f"!{rule.key}")
    if not parts:
        raise TargetError(f"{target} does not say by which labels it selects its pods")
    return ",".join(parts)


def _equal(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _container(pod: Pod, wanted: str | None, *, ready: bool) -> ContainerStatus | str:
    """Return the status of the container that is meant, or why it cannot be."""
    status = pod.status
    if pod.metadata.deletion_timestamp is not None:
        return "is being deleted"
    if status.phase != "Running":
        return f"is {status.phase}{_why(pod)}"
    name = wanted or default_container(pod)
    statuses = (*status.container_statuses, *status.init_container_statuses)
    found = next((one for one in statuses if one.name == name), None)
    if found is None:
        return f"has no container {name}; it has {', '.join(one.name for one in statuses)}"
    if found.state.running is None or not found.container_id:
        return f"has a container {name} that is not running{_why(pod)}"
    return found if found.ready or not ready else f"has a container {name} that is not ready"


def default_container(pod: Pod) -> str:
    """Return the container that is meant by default: the annotated one, or the first that is no sidecar."""
    names = container_names(pod)
    first = next((name for name in names if name not in SIDECARS), names[0])
    return pod.metadata.annotations.get(_DEFAULT_CONTAINER, first)


def container_names(pod: Pod) -> list[str]:
    """Return the names of a pod's containers, in their order."""
    return [container.name for container in pod.spec.containers]


def _why(pod: Pod) -> str:
    """Return the reason that some container gives for waiting."""
    waiting = (one.state.waiting for one in pod.status.container_statuses)
    return next((f" ({one.reason})" for one in waiting if one is not None and one.reason), "")


def _chosen(pod: Pod, status: ContainerStatus, *, guessed: bool) -> Chosen:
    names = [name for name in container_names(pod) if name not in SIDECARS and name != status.name]
    guessed = guessed and _DEFAULT_CONTAINER not in pod.metadata.annotations
    return Chosen(
        pod=pod.metadata.name,
        namespace=pod.metadata.namespace,
        node=pod.spec.node_name,
        container=status.name,
        id=status.container_id.rpartition("//")[2],
        others=tuple(names) if guessed else (),
        probes=probed_ports(pod),
        ports=tuple(
            port.container_port
            for container in pod.spec.containers
            for port in container.ports
            if port.protocol == "TCP" and container.name not in SIDECARS
        ),
    )
