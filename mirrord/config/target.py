"""``target``: the pod, or what stands for one, that the program is to run in."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import field_validator

from mirrord.config.section import Section
from mirrord.errors import UsageError

KINDS: Final = (
    "pod",
    "deployment",
    "rollout",
    "job",
    "cron_job",
    "stateful_set",
    "service",
    "replica_set",
    "daemon_set",
)  # fmt: skip
_BARE: Final = (*KINDS, "labels", "container")
_SANDBOX: Final = "use `-t sandbox`, which needs no cluster"
TARGETLESS: Final = "targetless"
_ALIASES: Final = {"deploy": "deployment"}
_CLUSTER: Final = frozenset((*(kind.replace("_", "") for kind in KINDS), "label"))
_LATER: Final = ("process",)


@dataclass(frozen=True, slots=True)
class ClusterTarget:
    """What in a cluster is impersonated: a kind of workload and its name, or pods with certain labels."""

    kind: str
    """One of KINDS without underscores, ``label``, or ``targetless``."""
    name: str = ""
    """With ``label`` what a label selector takes: ``app=web,tier=x``."""
    container: str | None = None

    def __str__(self) -> str:
        if self.kind == TARGETLESS:
            return self.kind
        return f"{self.kind}/{self.name}" + (f"/container/{self.container}" if self.container else "")


class Target(Section):
    """The target as text; the object forms of a path are turned into the text form."""

    path: str | None = None
    # A sandbox has none, and ignores it.
    namespace: str | None = None

    @classmethod
    def expand(cls, value: Any) -> Any:
        """Take a path as text, or a path object without ``path`` around it."""
        if isinstance(value, str):
            return {"path": value}
        if isinstance(value, dict) and "path" not in value and any(key in _BARE for key in value):
            return {"path": value}
        return value

    @field_validator("path", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kinds = [key for key in value if key != "container"]
        unknown = [key for key in value if key not in _BARE]
        if unknown or len(kinds) != 1:
            raise ValueError(
                f"must name exactly one of {', '.join(KINDS)} or labels, with an optional container"
            )
        return _path_text(kinds[0], value[kinds[0]], value.get("container"))


def _path_text(kind: str, name: object, container: object) -> str:
    if kind == "labels" and isinstance(name, dict):
        kind, name = "label", ",".join(f"{key}={value}" for key, value in name.items())
    if not isinstance(name, str) or not isinstance(container, str | None):
        raise ValueError("must have names that are texts")
    return f"{kind.replace('_', '')}/{name}" + (f"/container/{container}" if container else "")


def check_target(path: str | None) -> str:
    """Return the target of a session; raise UsageError for none, and for what is not built yet."""
    if not path:
        raise UsageError("no target was given", remedy=f"use `-t pod/NAME` or the like, or {_SANDBOX[4:]}")
    kind, slash, name = path.partition("/")
    if kind == "sandbox":
        if slash and (not name or "/" in name):
            raise UsageError(f"the target `{path}` is malformed", remedy="use `sandbox` or `sandbox/NAME`")
        return path
    if kind in _LATER:
        raise UsageError(f"the target `{path}` is not supported yet", remedy=_SANDBOX)
    parse_cluster_target(path)
    return path


def parse_cluster_target(path: str) -> ClusterTarget:
    """Return what a text such as ``deployment/web/container/app`` names; raise UsageError."""
    if path == TARGETLESS:
        return ClusterTarget(TARGETLESS)
    given, *rest = path.split("/")
    kind = _ALIASES.get(given, given)
    if kind not in _CLUSTER:
        known = ", ".join(sorted((*_CLUSTER, TARGETLESS)))
        raise UsageError(f"the target `{path}` is of no known kind", remedy=f"known: {known}; or {_SANDBOX}")
    # a label's key may have a prefix with a slash: example.com/part=web
    name, separator, container = "/".join(rest).partition("/container/")
    slashes = kind != "label" and "/" in name
    if not name or slashes or (separator and (not container or "/" in container)):
        raise UsageError(f"the target `{path}` is malformed", remedy=f"use `{_form(kind)}[/container/NAME]`")
    if kind == "label" and "=" not in name:
        raise UsageError(f"the target `{path}` is malformed", remedy="use `label/KEY=VALUE[,KEY=VALUE…]`")
    return ClusterTarget(kind, name, container or None)


def _form(kind: str) -> str:
    return "label/KEY=VALUE" if kind == "label" else f"{kind}/NAME"
