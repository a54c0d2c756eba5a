"""Which pod, and which of its containers, is impersonated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubernetes.aio.client import (
    AppsV1Api,
    BatchV1Api,
    CoreV1Api,
    CustomObjectsApi,
    V1ContainerStatus,
    V1LabelSelector,
    V1Pod,
)

from mirrord.config.target import ClusterTarget
from mirrord.errors import TargetError
from mirrord.targets.kubernetes.access import Access, asking

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
    pods: int = 1
    """How many pods the target has."""

    @property
    def label(self) -> str:
        """Return what to call it in front of people."""
        return f"pod/{self.pod}, container {self.container} (namespace {self.namespace})"


async def choose(access: Access, target: ClusterTarget, namespace: str) -> Chosen:
    """Find the first pod that runs, is ready and is not about to end; raise TargetError."""
    pods = await find(access, target, namespace)
    reasons: list[str] = []
    for pod in pods:
        chosen = _container(pod, target.container)
        if isinstance(chosen, str):
            reasons.append(f"{_name(pod)} {chosen}")
        else:
            return _chosen(pod, chosen, guessed=target.container is None, pods=len(pods))
    if not reasons:
        raise TargetError(f"{target} has no pods in the namespace {namespace}")
    raise TargetError(f"no pod of {target} can be impersonated: {'; '.join(reasons[:3])}")


async def find(access: Access, target: ClusterTarget, namespace: str) -> Sequence[V1Pod]:
    """Return the target's pods, the oldest first; raise TargetError."""
    core = CoreV1Api(access.client)
    if target.kind == "pod":
        with asking("get", "pods", namespace, target.name):
            return [await core.read_namespaced_pod(target.name, namespace)]
    selector = await _selector(access, target, namespace)
    with asking("list", "pods", namespace):
        pods = (await core.list_namespaced_pod(namespace, label_selector=selector)).items
    return sorted(pods, key=lambda pod: (_created(pod), _name(pod)))


async def _selector(access: Access, target: ClusterTarget, namespace: str) -> str:
    """Return what a workload selects its pods by, as text."""
    if target.kind == "label":
        return target.name
    if target.kind == "service":
        with asking("get", "services", namespace, target.name):
            spec = (await CoreV1Api(access.client).read_namespaced_service(target.name, namespace)).spec
        if spec is None or not spec.selector:
            raise TargetError(f"the service {target.name} selects no pods")
        return _equal(spec.selector)
    if target.kind == "cronjob":
        return await _latest_job(access, target, namespace)
    return _as_text(await _labels_of(access, target, namespace), target)


async def _labels_of(access: Access, target: ClusterTarget, namespace: str) -> V1LabelSelector | None:
    apps, name = AppsV1Api(access.client), target.name
    with asking("get", f"{target.kind}s.{_GROUPS[target.kind]}", namespace, name):
        match target.kind:
            case "deployment":
                spec = (await apps.read_namespaced_deployment(name, namespace)).spec
                return spec.selector if spec else None
            case "statefulset":
                stateful = (await apps.read_namespaced_stateful_set(name, namespace)).spec
                return stateful.selector if stateful else None
            case "replicaset":
                replicas = (await apps.read_namespaced_replica_set(name, namespace)).spec
                return replicas.selector if replicas else None
            case "daemonset":
                daemons = (await apps.read_namespaced_daemon_set(name, namespace)).spec
                return daemons.selector if daemons else None
            case "job":
                job = (await BatchV1Api(access.client).read_namespaced_job(name, namespace)).spec
                return job.selector if job else None
            case _:
                rollouts = CustomObjectsApi(access.client)
                found: Any = await rollouts.get_namespaced_custom_object(
                    "argoproj.io", "v1alpha1", namespace, "rollouts", name
                )
                return V1LabelSelector.from_dict(found["spec"].get("selector") or {})


_GROUPS: Final = {
    "deployment": "apps",
    "statefulset": "apps",
    "replicaset": "apps",
    "daemonset": "apps",
    "job": "batch",
    "rollout": "argoproj.io",
}


async def _latest_job(access: Access, target: ClusterTarget, namespace: str) -> str:
    batch = BatchV1Api(access.client)
    with asking("get", "cronjobs.batch", namespace, target.name):
        owner = (await batch.read_namespaced_cron_job(target.name, namespace)).metadata
    with asking("list", "jobs.batch", namespace):
        jobs = (await batch.list_namespaced_job(namespace)).items
    uid = owner.uid if owner else None
    own = [job for job in jobs if job.metadata and uid in _owners(job.metadata.owner_references)]
    running = [job for job in own if job.status and job.status.active and job.spec and job.spec.selector]
    if not running:
        raise TargetError(f"no job of {target} is running in the namespace {namespace}")
    spec = max(running, key=lambda job: _stamp(job.metadata)).spec
    return _as_text(spec.selector if spec else None, target)


def _owners(references: Iterable[object] | None) -> list[object]:
    return [getattr(reference, "uid", None) for reference in references or ()]


def _as_text(selector: V1LabelSelector | None, target: ClusterTarget) -> str:
    """Return a selector in the API's text form; an empty one would select every pod."""
    parts = [_equal(selector.match_labels)] if selector and selector.match_labels else []
    for rule in (selector.match_expressions or ()) if selector else ():
        if rule.operator in _OPERATORS:
            parts.append(f"{rule.key} {_OPERATORS[rule.operator]} ({','.join(rule.values or ())})")
        else:
            parts.append(rule.key if rule.operator == "Exists" else f"!{rule.key}")
    if not parts:
        raise TargetError(f"{target} does not say by which labels it selects its pods")
    return ",".join(parts)


def _equal(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _container(pod: V1Pod, wanted: str | None) -> V1ContainerStatus | str:
    """Return the status of the container that is meant, or why it cannot be."""
    if pod.metadata is not None and pod.metadata.deletion_timestamp is not None:
        return "is being deleted"
    status = pod.status
    if status is None or status.phase != "Running":
        return f"is {status.phase if status else 'unknown'}{_why(pod)}"
    name = wanted or default_container(pod)
    statuses = (*(status.container_statuses or ()), *(status.init_container_statuses or ()))
    found = next((one for one in statuses if one.name == name), None)
    if found is None:
        return f"has no container {name}; it has {', '.join(one.name for one in statuses)}"
    if found.state is None or found.state.running is None or not found.container_id:
        return f"has a container {name} that is not running{_why(pod)}"
    return found if found.ready else f"has a container {name} that is not ready"


def default_container(pod: V1Pod) -> str:
    """Return the container that is meant by default: the annotated one, or the first that is no sidecar."""
    annotations = (pod.metadata.annotations if pod.metadata else None) or {}
    if _DEFAULT_CONTAINER in annotations:
        return annotations[_DEFAULT_CONTAINER]
    names = container_names(pod)
    return next((name for name in names if name not in SIDECARS), names[0])


def container_names(pod: V1Pod) -> list[str]:
    """Return the names of a pod's containers, in their order."""
    return [container.name for container in pod.spec.containers] if pod.spec else []


def _why(pod: V1Pod) -> str:
    """Return the reason that some container gives for waiting."""
    statuses = (pod.status.container_statuses or ()) if pod.status else ()
    waiting = (one.state.waiting for one in statuses if one.state and one.state.waiting)
    return next((f" ({one.reason})" for one in waiting if one.reason), "")


def _chosen(pod: V1Pod, status: V1ContainerStatus, *, guessed: bool, pods: int) -> Chosen:
    names = [name for name in container_names(pod) if name not in SIDECARS and name != status.name]
    annotated = bool(pod.metadata and _DEFAULT_CONTAINER in (pod.metadata.annotations or {}))
    return Chosen(
        pod=_name(pod),
        namespace=(pod.metadata.namespace if pod.metadata else None) or "",
        node=(pod.spec.node_name if pod.spec else None) or "",
        container=status.name,
        id=(status.container_id or "").rpartition("//")[2],
        others=tuple(names) if guessed and not annotated else (),
        pods=pods,
    )


def _name(pod: V1Pod) -> str:
    return (pod.metadata.name if pod.metadata else None) or ""


def _created(pod: V1Pod) -> str:
    return _stamp(pod.metadata)


def _stamp(metadata: object) -> str:
    return str(getattr(metadata, "creation_timestamp", ""))
