"""The command line of ``mirrord ls``."""

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from mirrord.cli.parser import Parser
from mirrord.errors import UsageError

if TYPE_CHECKING:
    from mirrord.config.model import Settings
    from mirrord.targets.kubernetes.listing import Found

_USAGE: Final = "mirrord ls [-n NAMESPACE] [--context CONTEXT] [-f FILE] [-o json|table] [-t KIND]..."
_DESCRIPTION: Final = """\
List what programs can be run in: a table on a terminal, JSON elsewhere.

MIRRORD_LS_RICH_OUTPUT=true adds the namespaces and what is not ready, as IDEs expect it."""


def main(arguments: list[str]) -> int:
    """Print the targets; raise MirrordError."""
    parser = Parser("mirrord ls", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("-n", "--namespace", help="the namespace; the context's by default")
    parser.add_argument("--context", help="the context of the kubeconfig; its current one by default")
    parser.add_argument("-f", "--config-file", metavar="FILE", help="a configuration file")
    parser.add_argument("-o", "--output", choices=("json", "table"), help="the form")
    parser.add_argument(
        "-t", "--target-type", action="append", metavar="KIND", help="only this kind; may be repeated"
    )
    parsed = parser.parse_args(arguments)
    rich = os.environ.get("MIRRORD_LS_RICH_OUTPUT") == "true"

    from mirrord.config.load import resolve
    from mirrord.config.options import ExecOptions

    options = ExecOptions(
        program=("ls",),
        target="targetless",
        target_namespace=parsed.namespace,
        context=parsed.context,
        config_file=parsed.config_file,
    )
    settings = resolve(options, os.environ)
    found = asyncio.run(_look(settings, parsed.target_type or _kinds_of_environment(), rich=rich))
    for kind in found.forbidden:
        print(f"mirrord: you are not allowed to list {kind}s in {found.namespace}", file=sys.stderr)
    if parsed.output == "table" or (parsed.output is None and not rich and sys.stdout.isatty()):
        _print_table(found)
    else:
        print(json.dumps(_as_json(found, rich=rich)))
    return 0


def _kinds_of_environment() -> list[str] | None:
    name = "MIRRORD_LS_TARGET_TYPES"
    try:
        kinds = json.loads(os.environ.get(name) or "null")
    except ValueError:
        raise UsageError(f"`{name}` is no JSON list", remedy="correct it") from None
    return None if kinds is None else [str(kind) for kind in kinds]


async def _look(settings: "Settings", kinds: list[str] | None, *, rich: bool) -> "Found":
    from mirrord.targets.kubernetes import listing
    from mirrord.targets.kubernetes.agents import access_of
    from mirrord.targets.kubernetes.objects import KINDS

    wanted = kinds or list(KINDS)
    if unknown := [kind for kind in wanted if kind not in KINDS]:
        raise UsageError(f"unknown kind {unknown[0]}", remedy=f"use one of {', '.join(KINDS)}")
    way = await access_of(settings)
    try:
        namespace = settings.configuration.target.namespace or way.namespace
        return await listing.look(way, namespace, wanted, all_namespaces=rich)
    finally:
        await way.close()


def _as_json(found: "Found", *, rich: bool) -> Any:
    if not rich:
        return [one.path for one in found.targets if one.available]
    targets = [{"path": one.path, "available": one.available} for one in found.targets]
    return {"targets": targets, "current_namespace": found.namespace, "namespaces": found.namespaces}


def _print_table(found: "Found") -> None:
    if not found.targets:
        print(f"nothing in the namespace {found.namespace}")
        return
    width = max(len(one.path) for one in found.targets)
    for one in found.targets:
        print(f"{one.path:{width}}  {'ready' if one.available else 'not ready'}")
