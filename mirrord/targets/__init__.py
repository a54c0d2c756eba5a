"""The targets: what a program can be made to run in."""

import difflib
from typing import TYPE_CHECKING, Final

from mirrord.errors import TargetError, UsageError

if TYPE_CHECKING:
    from mirrord.targets.base import Target

_SANDBOX: Final = "sandbox"
_LATER: Final = (
    *("cronjob", "deploy", "deployment", "job", "label", "pod", "process", "replicaset", "rollout"),
    *("service", "statefulset", "targetless"),
)


def prepare(spec: str) -> "Target":
    """Begin to make, or join, the target that the text names: ``sandbox`` or ``sandbox/NAME``.

    Must be called before there are threads; does not wait. Raises UsageError for what is no target,
    TargetError for one that is not there or not supported yet.
    """
    kind, slash, name = spec.partition("/")
    if kind in _LATER:
        raise TargetError(
            f"the target `{spec}` is not supported yet", remedy="use `sandbox`, which needs no cluster"
        )
    if kind != _SANDBOX:
        raise UsageError(f"`{spec}` is not a target", remedy=f"did you mean `{_nearest(spec)}`?")
    from mirrord.targets.sandbox import launch, registry

    if slash:
        return launch.join(registry.checked(name))
    return launch.join_or_make()


def _nearest(spec: str) -> str:
    kind, slash, name = spec.partition("/")
    near = difflib.get_close_matches(kind.lower(), (_SANDBOX, *_LATER), n=1, cutoff=0.5)
    found = near[0] if near else _SANDBOX
    return f"{found}/{name}" if slash and name and near else found
