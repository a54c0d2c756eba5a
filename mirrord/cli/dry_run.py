"""``mirrord exec --dry-run``: prints what would be created in the cluster, for those who have to allow it."""

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from mirrord.config.options import ExecOptions
from mirrord.errors import UsageError

if TYPE_CHECKING:
    from mirrord.config.model import Settings


class _Silent:
    """Says what must be known only, on standard error."""

    def info(self, text: str) -> None:
        """Say nothing."""

    def detail(self, text: str) -> None:
        """Say nothing."""

    def step(self, doing: str, purpose: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say it."""
        print(f"mirrord: {text}", file=sys.stderr)


def main(options: ExecOptions) -> int:
    """Print the manifest; raise MirrordError. The cluster is asked for the target, and not changed."""
    import yaml

    from mirrord.config.load import resolve_for_program

    settings = resolve_for_program(options, os.environ)
    if settings.target.startswith("sandbox"):
        raise UsageError("a sandbox creates nothing in a cluster", remedy="name a target of a cluster")
    manifest = asyncio.run(_manifest(settings))
    if options.output == "json":
        print(json.dumps(manifest, indent=2))
    else:
        print(yaml.safe_dump(manifest, sort_keys=False), end="")
    return 0


async def _manifest(settings: "Settings") -> dict[str, Any]:
    from mirrord.link.client import new_session_key, public_bytes
    from mirrord.targets.kubernetes.target import KubernetesTarget

    target = KubernetesTarget(settings, _Silent())
    try:
        return await target.manifest(public_bytes(new_session_key()))
    finally:
        await target.close()
