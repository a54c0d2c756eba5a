"""The command lines of ``mirrord attach`` and ``mirrord detach``."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from mirrord.cli.flags import FLAGS, split_program
from mirrord.cli.options import STDIN, add_flag
from mirrord.cli.parser import Parser
from mirrord.config.options import AttachOptions, ExecOptions
from mirrord.errors import UsageError

_USAGE: Final = "mirrord attach [-t TARGET] [-f [FILE]] [--descendants] [FLAGS] PID"
_DESCRIPTION: Final = """\
Bring a process that runs under a session: what it opens, connects to and asks
for from now on is the target's. Ctrl-C, or `mirrord detach PID`, ends that, and
the process goes on locally. Its environment, its current directory, and what it
has open already are not changed.

The process keeps a small companion for as long as it lives, which answers for
it between sessions."""
_DETACH_USAGE: Final = "mirrord detach PID"
_DETACH_DESCRIPTION: Final = "End the session of a process that was attached to; it goes on locally."
_DESCENDANTS: Final = "--descendants"
_OF_PROGRAMS: Final = ("--override-env-vars-include", "--override-env-vars-exclude", "--env-file")
"""Flags about the environment, which only a program has that mirrord starts."""
_FIXED: Final = ("--help", *_OF_PROGRAMS)


def attach(arguments: list[str]) -> int:
    """Attach until the session ends; return the exit code. Raises MirrordError."""
    options = parse(arguments)

    from mirrord.session import attaching

    return attaching.run(options)


def detach(arguments: list[str]) -> int:
    """End a session; return the exit code. Raises MirrordError."""
    parser = Parser("mirrord detach", usage=_DETACH_USAGE, description=_DETACH_DESCRIPTION)
    parser.add_argument("pid", metavar="PID", help="the process")
    pid = process_id(parser.parse_args(arguments).pid)

    from mirrord.session import attaching

    return attaching.detach(pid)


def parse(arguments: list[str], *, read_stdin: Callable[[], str] = lambda: sys.stdin.read()) -> AttachOptions:
    """Return the options; raise UsageError. Flags may stand before and after the process id."""
    rest = [argument for argument in arguments if argument != _DESCENDANTS]
    flags, positional = split_program(rest)
    if positional:
        later, extra = split_program(positional[1:])
        flags += later
        if extra:
            raise UsageError(
                f"`{extra[0]}` is one process too many", remedy="attach to each by a command of its own"
            )
    refuse_environment(flags)
    values = vars(_parser().parse_args(flags))
    if not positional:
        raise UsageError("no process was given", remedy="put its id after the flags: mirrord attach 1234")
    pid = process_id(positional[0])
    del values["disable_version_check"]
    config_file = values["config_file"] or os.environ.get("MIRRORD_CONFIG_FILE")
    stdin_config = read_stdin() if config_file == STDIN else None
    del values["descendants"]
    session = ExecOptions(program=(), stdin_config=stdin_config, **values)
    return AttachOptions(pid=pid, descendants=_DESCENDANTS in arguments, session=session)


def _parser() -> Parser:
    parser = Parser("mirrord attach", usage=_USAGE, description=_DESCRIPTION)
    for flag in FLAGS:
        if flag.supported and not any(name in _FIXED for name in flag.names):
            add_flag(parser, flag)
    parser.add_argument(
        _DESCENDANTS, action="store_true", help="the children that the process has already, and theirs, too"
    )
    return parser


def refuse_environment(flags: Sequence[str]) -> None:
    """Raise UsageError for a flag that only a program can have which mirrord starts."""
    names = {name for flag in FLAGS if not {*flag.names}.isdisjoint(_OF_PROGRAMS) for name in flag.names}
    for flag in flags:
        name = flag.partition("=")[0]
        if name in names:
            raise UsageError(
                f"{name} cannot be used here: the environment of a process that runs cannot be changed",
                remedy="leave it out, or start the program with mirrord exec",
            )


def process_id(text: str) -> int:
    """Return the number of a process; raise UsageError."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise UsageError(f"`{text}` is no process id", remedy="give its number: pgrep NAME finds it")
    return int(text)
