"""The command line of ``mirrord cleanup``."""

import asyncio
import os
from typing import TYPE_CHECKING, Final

from mirrord.cli.parser import Parser

if TYPE_CHECKING:
    from mirrord.config.model import Settings
    from mirrord.targets.kubernetes.cleanup import Cleaned

_USAGE: Final = "mirrord cleanup [-n NAMESPACE] [--context CONTEXT] [-f FILE] [--all]"
_DESCRIPTION: Final = """\
Delete agents that nobody uses: those whose client was killed while they started.

An agent that runs is left alone: it ends by itself when its client is gone."""


def main(arguments: list[str]) -> int:
    """Delete them and say what was done; raise MirrordError."""
    parser = Parser("mirrord cleanup", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("-n", "--namespace", help="the agents' namespace; the context's by default")
    parser.add_argument("--context", help="the context of the kubeconfig; its current one by default")
    parser.add_argument("-f", "--config-file", metavar="FILE", help="a configuration file")
    parser.add_argument("--all", action="store_true", help="those that are in use, too, whoever uses them")
    parsed = parser.parse_args(arguments)

    from mirrord.config.load import resolve
    from mirrord.config.options import ExecOptions

    options = ExecOptions(
        program=("cleanup",),
        target="targetless",
        agent_namespace=parsed.namespace,
        context=parsed.context,
        config_file=parsed.config_file,
    )
    namespace, cleaned = asyncio.run(_clean(resolve(options, os.environ), everything=parsed.all))
    for name in cleaned.deleted:
        print(f"deleted {name}")
    for name in cleaned.left:
        print(f"left {name}, which is in use or starting")
    if not cleaned.deleted and not cleaned.left:
        print(f"no agents in the namespace {namespace}")
    return 0


async def _clean(settings: "Settings", *, everything: bool) -> "tuple[str, Cleaned]":
    from mirrord.targets.kubernetes.agents import access_of
    from mirrord.targets.kubernetes.cleanup import clean

    configuration = settings.configuration
    way = await access_of(settings)
    try:
        namespace = configuration.agent.namespace or configuration.target.namespace or way.namespace
        return namespace, await clean(way, namespace, everything=everything)
    finally:
        await way.close()
