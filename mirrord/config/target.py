"""``target``: the pod, or what stands for one, that the program is to run in."""

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
)  # fmt: skip
_BARE: Final = (*KINDS, "labels", "container")
_SANDBOX: Final = "use `-t sandbox`, which needs no cluster"


class Target(Section):
    """The target as text; the object forms of a path are turned into the text form."""

    path: str | None = None
    # Harmless: a sandbox has no namespace, and every other target is refused.
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
        raise UsageError("no target was given", remedy=_SANDBOX)
    kind, slash, name = path.partition("/")
    if kind == "sandbox":
        if slash and (not name or "/" in name):
            raise UsageError(f"the target `{path}` is malformed", remedy="use `sandbox` or `sandbox/NAME`")
        return path
    known = {*KINDS, *(kind.replace("_", "") for kind in KINDS), "deploy", "label", "process", "targetless"}
    if kind in known:
        raise UsageError(f"the target `{path}` is not supported yet", remedy=_SANDBOX)
    raise UsageError(f"the target `{path}` is of no known kind", remedy=_SANDBOX)
