"""The command line of ``mirrord why``: which side something is on, and by which rule."""

import os
from typing import TYPE_CHECKING, Final

from mirrord.cli.parser import Parser

if TYPE_CHECKING:
    from mirrord.config.asked import Rules
    from mirrord.config.model import Settings

_USAGE: Final = (
    "mirrord why [-f FILE] [-t TARGET] [-n NAMESPACE] [--fs-mode MODE] [-w] PATH|HOST:PORT|NAME..."
)
_DESCRIPTION: Final = """\
Say for each PATH, destination and NAME whether a program under mirrord would use
the target's or this machine's, and which rule decides; nothing is run, and nothing
looked up. What has a slash is a path; a relative one belongs to the current
directory. tcp:// or udp:// may stand before HOST:PORT."""
_DOMAIN: Final = "cluster.local"
"""The cluster's domain; one with another has it in the names of its services."""


def main(arguments: list[str]) -> int:
    """Print what the rules say and return 0; raise UsageError."""
    parser = Parser("mirrord why", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("-f", "--config-file", metavar="FILE", help="a configuration file")
    parser.add_argument("-t", "--target", metavar="TARGET", help="as mirrord exec has it")
    parser.add_argument(
        "-n", "--target-namespace", metavar="NAMESPACE", help="where short names of services belong"
    )
    parser.add_argument(
        "--fs-mode",
        metavar="MODE",
        choices=("read", "write", "local", "local-with-overrides"),
        help="as mirrord exec has it",
    )
    parser.add_argument("-w", "--write", action="store_true", help="to write, make or remove a file")
    parser.add_argument("asked", nargs="+", metavar="PATH|HOST:PORT|NAME")
    values = parser.parse_args(arguments)

    from mirrord.config.asked import answers
    from mirrord.config.load import resolve
    from mirrord.config.options import ExecOptions

    options = ExecOptions(
        program=("why",),
        target=values.target,
        target_namespace=values.target_namespace,
        config_file=values.config_file,
        fs_mode=values.fs_mode,
    )
    # most rules are the same in any target
    rules = _rules(resolve(options, os.environ, default_target="sandbox"))
    for asked in values.asked:
        for line in answers(asked, rules, cwd=os.getcwd(), write=values.write):
            print(line)
    return 0


def _rules(settings: "Settings") -> "Rules":
    from mirrord.config.asked import Rules
    from mirrord.config.outgoing import DnsRules, OutgoingRules
    from mirrord.config.paths import PathRules

    home = os.environ.get("HOME")
    namespace = settings.configuration.target.namespace or "default"
    # as the kubelet writes it into a pod's resolv.conf
    search = tuple(f"{prefix}{_DOMAIN}" for prefix in (f"{namespace}.svc.", "svc.", ""))
    return Rules(
        paths=PathRules.from_settings(
            settings,
            cwd=os.getcwdb(),
            home=os.fsencode(home) if home else None,
            tmpdir=os.fsencode(os.environ.get("TMPDIR", "/tmp")),
            search=os.fsencode(os.environ.get("PATH", "")).split(b":"),
        ),
        outgoing=OutgoingRules.from_settings(settings, search=search),
        dns=DnsRules.from_settings(settings, search=search),
        ipv6=settings.feature.network.ipv6,
    )
