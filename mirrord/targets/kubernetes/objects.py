"""What we read of the API's objects, and where the kinds of workload are found.

The ``kubernetes`` package has a class for every object, and takes a second of processor time to import those
that we need. These few take a hundredth.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel


class Part(BaseModel):
    """A part of an object; what is null is as if it were absent, and what we do not read is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if item is not None}


class Owner(Part):
    """Who made an object."""

    uid: str = ""


class Metadata(Part):
    """Of every object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: Mapping[str, str] = Field(default={})
    annotations: Mapping[str, str] = Field(default={})
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    owner_references: tuple[Owner, ...] = ()


class Waiting(Part):
    """Why a container does not run."""

    reason: str = ""
    message: str = ""


class State(Part):
    """One of these is there."""

    running: Mapping[str, Any] | None = None
    waiting: Waiting | None = None
    terminated: Mapping[str, Any] | None = None


class ContainerStatus(Part):
    """Of a container."""

    name: str
    ready: bool = False
    container_id: str = Field(default="", alias="containerID")
    state: State = State()


class Condition(Part):
    """One thing that is, or is not, the case with an object."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""


class PodStatus(Part):
    """Of a pod."""

    phase: str = "Unknown"
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()


class ContainerPort(Part):
    """A port that a container names."""

    name: str = ""
    container_port: int = 0
    protocol: str = "TCP"


class Handler(Part):
    """What a probe asks."""

    port: int | str = 0
    """Its number, or its name among the container's."""
    host: str = ""
    """Where it is asked; nothing for the pod."""


class Probe(Part):
    """How the kubelet sees whether a container is well: one of these, or a command in it."""

    http_get: Handler | None = None
    tcp_socket: Handler | None = None
    grpc: Handler | None = None


class Container(Part):
    """Of a pod."""

    name: str
    ports: tuple[ContainerPort, ...] = ()
    startup_probe: Probe | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None


class PodSpec(Part):
    """Of a pod."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class Pod(Part):
    """A pod."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        """Whether it is, and is not about to end."""
        ready = any(one.type == "Ready" and one.status == "True" for one in self.status.conditions)
        return ready and self.metadata.deletion_timestamp is None


class Expression(Part):
    """One condition on a label."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(Part):
    """Which labels pods must have."""

    match_labels: Mapping[str, str] = Field(default={})
    match_expressions: tuple[Expression, ...] = ()


class Workload(Part):
    """Anything that has pods; of its ``spec`` and ``status`` the kinds differ in what they have."""

    metadata: Metadata = Metadata()
    spec: Mapping[str, Any] = Field(default={})
    status: Mapping[str, Any] = Field(default={})


class Kind(NamedTuple):
    """Where the API has the objects of a kind."""

    group: str
    version: str
    plural: str
    available: str
    """What of its status says that there is a pod to be impersonated; nothing if that is not known."""

    @property
    def resource(self) -> str:
        """What RBAC calls it: ``deployments.apps``."""
        return f"{self.plural}.{self.group}".rstrip(".")

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of one object, or of all in a namespace."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" + (f"/{name}" if name else "")


KINDS: Final = {
    "deployment": Kind("apps", "v1", "deployments", "availableReplicas"),
    "statefulset": Kind("apps", "v1", "statefulsets", "readyReplicas"),
    "daemonset": Kind("apps", "v1", "daemonsets", "numberReady"),
    "replicaset": Kind("apps", "v1", "replicasets", "readyReplicas"),
    "job": Kind("batch", "v1", "jobs", "ready"),
    "cronjob": Kind("batch", "v1", "cronjobs", "active"),
    "rollout": Kind("argoproj.io", "v1alpha1", "rollouts", "availableReplicas"),
    "service": Kind("", "v1", "services", ""),
    "pod": Kind("", "v1", "pods", ""),
}
"""In the order in which they are listed."""
EVENTS: Final = Kind("", "v1", "events", "")
