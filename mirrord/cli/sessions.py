"""The command line of ``mirrord sessions``."""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mirrord.cli.parser import Parser
from mirrord.errors import MirrordError, UsageError

if TYPE_CHECKING:
    from mirrord.feed.models import SessionInfo

_USAGE: Final = """\
mirrord sessions [list] [--json]
       mirrord sessions stop SESSION..."""
_DESCRIPTION: Final = """\
The sessions that run: those of `exec`, `trace` and `attach`, by this user.

  list  show them, and what is remote in each
  stop  end them: the program gets SIGTERM, and after five seconds SIGKILL;
        an attached process is let go of, and goes on locally"""

_NARROWEST: Final = 20
_MOST_LINES: Final = 4
"""Of one field: a program may have a script for an argument."""


def main(arguments: list[str]) -> int:
    """Run one of the sub-commands and return its exit status; raise MirrordError."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["list", *arguments]
    if arguments[0] in ("-h", "--help"):
        Parser("mirrord sessions", usage=_USAGE, description=_DESCRIPTION).print_help()
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in _COMMANDS:
        raise UsageError(f"unknown sessions command {name}", remedy=f"use one of {', '.join(_COMMANDS)}")
    return _COMMANDS[name](rest)


def _list(arguments: list[str]) -> int:
    parser = Parser("mirrord sessions list", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="a JSON list, for programs")
    as_json = parser.parse_args(arguments).json

    from mirrord.trace.sessions import infos

    found = list(infos())
    if as_json:
        json.dump([info.model_dump(exclude={"rules", "clock"}) for info in found], sys.stdout, indent=2)
        print()
    elif found:
        _print(found)
    else:
        print("No session runs.")
    return 0


def _print(found: "list[SessionInfo]") -> None:
    """Write a few lines for each, none longer than the terminal; as long as they are where there is none."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for info in found:
        print(f"{info.id}  process {info.pid}")
        print(_field("program", " ".join(info.program), width))
        print(_field("target", info.target or "none", width))
        print(_field("remote", ", ".join(info.remote) or "nothing", width))


def _field(name: str, text: str, width: int | None) -> str:
    head = f"    {name:7}  "
    shown = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    if width is None:
        return head + shown
    room = max(width - len(head), _NARROWEST)
    lines = textwrap.wrap(shown, room, max_lines=_MOST_LINES, placeholder=" …") or [""]
    return head + f"\n{' ' * len(head)}".join(lines)


def _stop(arguments: list[str]) -> int:
    parser = Parser("mirrord sessions stop", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("sessions", nargs="+", metavar="SESSION", help="its id, or the start of it")
    words: list[str] = parser.parse_args(arguments).sessions

    from mirrord.trace.sessions import find, stop

    chosen = [find(word) for word in words]
    for directory, client in chosen:
        if not stop(client):
            raise MirrordError(f"session {directory.id} has not ended", remedy="kill its processes")
    return 0


_COMMANDS: Final[dict[str, Callable[[list[str]], int]]] = {"list": _list, "stop": _stop}
