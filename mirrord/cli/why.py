"""The command line of ``mirrord why``: which side a path is on, and by which rule."""

import os
from typing import Final

from mirrord.cli.parser import Parser

_USAGE: Final = "mirrord why [-f FILE] [--fs-mode MODE] [-w] PATH..."
_DESCRIPTION: Final = """\
Say for each PATH whether a program under mirrord would use the target's or this
machine's, and which rule decides. A relative path belongs to the current directory."""


def main(arguments: list[str]) -> int:
    """Print a line for each path and return 0; raise UsageError."""
    parser = Parser("mirrord why", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("-f", "--config-file", metavar="FILE", help="a configuration file")
    parser.add_argument(
        "--fs-mode",
        metavar="MODE",
        choices=("read", "write", "local", "local-with-overrides"),
        help="as mirrord exec has it",
    )
    parser.add_argument("-w", "--write", action="store_true", help="to write, make or remove it")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    values = parser.parse_args(arguments)

    from mirrord.config.load import resolve
    from mirrord.config.options import ExecOptions
    from mirrord.config.paths import PathRules

    # which target it is does not matter for the rules
    options = ExecOptions(
        program=("why",), target="sandbox", config_file=values.config_file, fs_mode=values.fs_mode
    )
    home = os.environ.get("HOME")
    rules = PathRules.from_settings(
        resolve(options, os.environ),
        cwd=os.getcwdb(),
        home=os.fsencode(home) if home else None,
        tmpdir=os.fsencode(os.environ.get("TMPDIR", "/tmp")),
        search=os.fsencode(os.environ.get("PATH", "")).split(b":"),
    )
    for path in values.paths:
        print(rules.why(os.path.join(os.getcwdb(), os.fsencode(path)), write=values.write))
    return 0
