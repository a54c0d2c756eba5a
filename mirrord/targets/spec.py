"""The text that names a target."""

import difflib
from typing import Final

from mirrord.errors import TargetError, UsageError
from mirrord.targets.sandbox.location import check_name

_SANDBOX: Final = "sandbox"
_NOT_BUILT: Final = {
    "pod": "pod/NAME",
    "deployment": "deployment/NAME",
    "deploy": "deploy/NAME",
    "rollout": "rollout/NAME",
    "job": "job/NAME",
    "cronjob": "cronjob/NAME",
    "statefulset": "statefulset/NAME",
    "service": "service/NAME",
    "replicaset": "replicaset/NAME",
    "label": "label/KEY=VALUE",
    "targetless": "targetless",
    "process": "process/PID",
}
_INSTEAD: Final = "use `-t sandbox`, which needs no cluster"


def parse(spec: str) -> str | None:
    """Return the name of the sandbox that ``spec`` asks for, None for ``sandbox``; raise UsageError or TargetError."""
    kind, slash, name = spec.partition("/")
    if kind in _NOT_BUILT:
        raise TargetError(f"the target `{spec}` is not supported yet", remedy=_INSTEAD)
    if kind != _SANDBOX:
        raise UsageError(
            f"the target `{spec}` is of no known kind", remedy=f"did you mean `{_nearest(kind)}`?"
        )
    if not slash:
        return None
    check_name(name)
    return name


def _nearest(kind: str) -> str:
    forms = {_SANDBOX: _SANDBOX, **_NOT_BUILT}
    near = difflib.get_close_matches(kind.lower(), forms, n=1, cutoff=0.5)
    return forms[near[0]] if near else _SANDBOX
