"""Reads the command line of ``mirrord exec``.

Standard library only: the session forks before anything heavy is imported.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

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
    return parse_with(EXEC, arguments, read_stdin=read_stdin)[0]


@dataclass(frozen=True, slots=True)
class Command:
    """A command that runs a program in a session."""

    name: str
    usage: str
    description: str
    flags: tuple[Flag, ...] = ()
    """What it has beside the flags of ``exec``, or instead of those of the same names."""
    programless: str = "dry_run"
    """The destination of the flag with which no program is given."""


EXEC: Final = Command("mirrord exec", _USAGE, _DESCRIPTION)


def parse_with(
    command: Command, arguments: list[str], *, read_stdin: Callable[[], str] = lambda: sys.stdin.read()
) -> tuple[ExecOptions, dict[str, Any]]:
    """Return the options of the session, and the command's own by their destinations; raise UsageError."""
    own, program = split_program(arguments, extra=command.flags)
    values = vars(_parser(command).parse_args(own))
    if not program and values[command.programless] is None:
        raise UsageError(
            "no program was given", remedy=f"put it after the flags: {command.name} -t sandbox -- PROGRAM"
        )
    supported = (flag.destination for flag in command.flags if flag.supported)
    extra = {name: values.pop(name) for name in supported}
    if values["env_include"] is not None and values["env_exclude"] is not None:
        raise UsageError("-s and -x exclude each other", remedy="leave one of them out")
    del values["disable_version_check"]
    config_file = values["config_file"] or os.environ.get("MIRRORD_CONFIG_FILE")
    stdin_config = read_stdin() if config_file == STDIN else None
    return ExecOptions(program=tuple(program), stdin_config=stdin_config, **values), extra


def _parser(command: Command) -> argparse.ArgumentParser:
    parser = Parser(command.name, usage=command.usage, description=command.description)
    own = {name for flag in command.flags for name in flag.names}
    others = (flag._replace(names=tuple(name for name in flag.names if name not in own)) for flag in FLAGS)
    for flag in (*command.flags, *others):
        if flag.names and flag.supported and "--help" not in flag.names:
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
