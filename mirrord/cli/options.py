"""Reads the command line of ``mirrord exec``.

Standard library only: the session forks before anything heavy is imported.
"""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Final

from mirrord.cli.flags import FLAGS, Flag, split_program
from mirrord.cli.parser import Parser
from mirrord.config.options import ExecOptions
from mirrord.errors import UsageError

_USAGE: Final = "mirrord exec [-t TARGET] [-f [FILE]] [FLAGS] [--] PROGRAM [ARGUMENTS]"
_DESCRIPTION: Final = """\
Run PROGRAM as if it were inside the target: with its environment, host name,
name resolution, outgoing connections and files. What follows PROGRAM is its own."""
STDIN: Final = "-"


def parse(arguments: list[str], *, read_stdin: Callable[[], str] = lambda: sys.stdin.read()) -> ExecOptions:
    """Return the options; raise UsageError. A configuration on standard input is read here."""
    own, program = split_program(arguments)
    values = vars(_parser().parse_args(own))
    if not program and values["dry_run"] is None:
        raise UsageError(
            "no program was given", remedy="put it after the flags: mirrord exec -t sandbox -- PROGRAM"
        )
    if values["env_include"] is not None and values["env_exclude"] is not None:
        raise UsageError("-s and -x exclude each other", remedy="leave one of them out")
    del values["disable_version_check"]
    config_file = values["config_file"] or os.environ.get("MIRRORD_CONFIG_FILE")
    stdin_config = read_stdin() if config_file == STDIN else None
    return ExecOptions(program=tuple(program), stdin_config=stdin_config, **values)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("mirrord exec", usage=_USAGE, description=_DESCRIPTION)
    for flag in FLAGS:
        if flag.supported and "--help" not in flag.names:
            add_flag(parser, flag)
    return parser


def add_flag(parser: argparse.ArgumentParser, flag: Flag) -> None:
    """Tell a parser of one flag of the table."""
    if flag.destination == "verbosity":
        parser.add_argument(*flag.names, dest=flag.destination, action="count", default=0, help=flag.help)
    elif flag.metavar is None:
        parser.add_argument(*flag.names, dest=flag.destination, action="store_true", help=flag.help)
    else:
        parser.add_argument(
            *flag.names,
            dest=flag.destination,
            metavar="|".join(flag.choices) if flag.choices else flag.metavar,
            nargs=None if flag.default_value is None else "?",
            const=flag.default_value,
            choices=flag.choices,
            type=int if flag.number else str,
            help=flag.help,
        )
