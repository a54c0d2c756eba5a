"""The command line of ``mirrord sandbox``."""

import re
from collections.abc import Callable
from typing import Final

from mirrord.cli.parser import Parser
from mirrord.errors import UsageError

_HOSTNAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""A label, as the name of a pod's host is one (RFC 1123, 2.1)."""
_DEFAULT_NAME: Final = "default"
_USAGE: Final = """\
mirrord sandbox up [--name N] [--hostname H] [--env K=V]... [--file PATH=CONTENT]...
       mirrord sandbox exec [--name N] [--] COMMAND...
       mirrord sandbox run [--name N] [--] COMMAND..."""
_DESCRIPTION: Final = """\
A small pod on this machine, made of namespaces, with a cluster around it.

  up    keep one in the foreground, for -t sandbox/NAME
  exec  run a command in the pod
  run   run a command in the cluster's network, as another pod would"""


def main(arguments: list[str]) -> int:
    """Run one of the sub-commands and return its exit status; raise UsageError."""
    if not arguments or arguments[0] in ("-h", "--help"):
        parser = Parser("mirrord sandbox", usage=_USAGE, description=_DESCRIPTION)
        parser.print_help()
        return 0 if arguments else UsageError.exit_code
    name, rest = arguments[0], arguments[1:]
    if name not in _COMMANDS:
        raise UsageError(f"unknown sandbox command {name}", remedy=f"use one of {', '.join(_COMMANDS)}")
    return _COMMANDS[name](rest)


def _up(arguments: list[str]) -> int:
    parser = Parser(
        "mirrord sandbox up", usage=_USAGE.partition("\n")[0], description="Keep a sandbox in the foreground."
    )
    parser.add_argument("--name", default=_DEFAULT_NAME, help="what -t sandbox/NAME calls it (%(default)s)")
    parser.add_argument("--hostname", help="the pod's host name")
    parser.add_argument("--env", action="append", default=[], metavar="K=V", help="a variable of the pod")
    parser.add_argument(
        "--file", action="append", default=[], metavar="PATH=CONTENT", help="a file of the pod"
    )
    values = parser.parse_args(arguments)
    name = _checked(values.name)
    if values.hostname is not None and not _HOSTNAME.fullmatch(values.hostname):
        raise UsageError(
            f"`{values.hostname}` is no host name for a pod",
            remedy="use at most 63 lower case letters, digits and `-`, and no `-` at an end",
        )
    env = dict(_pair(text, "--env") for text in values.env)
    files = dict(_file(text) for text in values.file)

    from mirrord.targets.sandbox import commands

    return commands.up(name=name, hostname=values.hostname, env=env, files=files)


def _exec(arguments: list[str]) -> int:
    name, command = _command("exec", arguments)

    from mirrord.targets.sandbox import commands

    return commands.exec_(name, command)


def _run(arguments: list[str]) -> int:
    name, command = _command("run", arguments)

    from mirrord.targets.sandbox import commands

    return commands.run(name, command)


_COMMANDS: Final[dict[str, Callable[[list[str]], int]]] = {"up": _up, "exec": _exec, "run": _run}


def _command(verb: str, arguments: list[str]) -> tuple[str, list[str]]:
    """Return the sandbox's name and the command; flags after the command's name are its own."""
    own, command = _split(arguments)
    parser = Parser(f"mirrord sandbox {verb}", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("--name", default=_DEFAULT_NAME, help="the sandbox, which is up (%(default)s)")
    name = _checked(parser.parse_args(own).name)
    if not command:
        raise UsageError(
            "no command was given", remedy=f"put it after the flags: mirrord sandbox {verb} -- COMMAND"
        )
    return name, command


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        if arguments[position] == "--":
            return arguments[:position], arguments[position + 1 :]
        position += 2 if arguments[position] == "--name" else 1
    return arguments[:position], arguments[position:]


def _checked(name: str) -> str:
    if not name or "/" in name or name in (".", ".."):
        raise UsageError(
            f"`{name}` is not a name for a sandbox", remedy="use letters, digits, `-`, `_` and `.`"
        )
    return name


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        # What was given is not repeated: it may be a secret that lacks its name.
        raise UsageError(f"the value of {flag} has no name or no `=`", remedy="expected NAME=VALUE")
    return name, value


def _file(text: str) -> tuple[str, str]:
    path, content = _pair(text, "--file")
    if not path.startswith("/"):
        raise UsageError(f"the path {path} is not absolute", remedy="start it with /")
    return path, content
