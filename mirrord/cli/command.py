"""The command ``mirrord``: finds the sub-command and runs it. Only what the sub-command needs is imported."""

import difflib
from collections.abc import Callable
from typing import Final

from mirrord.errors import UsageError

VERSION: Final = "0.1.0"
"""Kept here as well as in pyproject.toml, because asking the installed metadata takes 40 ms."""

_HELP: Final = """\
usage: mirrord COMMAND ...

Run a local program as if it were inside a Kubernetes pod.

  exec       run a program with the target's environment, names, network and files
  ls         list what there is in a cluster to run programs in
  cleanup    delete agents that nobody uses from a cluster
  port-forward  lead ports of this machine to what the target reaches, and back
  dump       print what clients send to the target
  diagnose   measure how long the agent takes to answer
  attach     bring a process that runs under a session; `mirrord detach PID` ends it
  sandbox    the target that needs no cluster: keep one up, run commands in it
  trace      exec, and show each call that is looked at, and where it went
  dashboard  the live view of a session that runs already
  sessions   list the sessions that run, and stop them
  doctor     try what sessions need of this machine, and say what works
  why        say on which side a path, a destination or a name is, and by which rule

  --help     show this; `mirrord COMMAND --help` for a command
  --version  show the version

Try:  mirrord exec -t sandbox -- sh -c 'hostname; echo $GREETING'
"""


def run(arguments: list[str]) -> int:
    """Run a command line and return the exit status; raise MirrordError."""
    if not arguments:
        raise UsageError("no command was given", remedy="see mirrord --help")
    name, rest = arguments[0], arguments[1:]
    if name in _COMMANDS:
        return _COMMANDS[name](rest)
    if name in _FUTURE:
        raise UsageError(f"mirrord {name} is not supported yet", remedy="see mirrord --help for what is")
    near = difflib.get_close_matches(name, _COMMANDS, n=1, cutoff=0.6)
    remedy = f"did you mean mirrord {near[0]}?" if near else "see mirrord --help"
    raise UsageError(f"unknown {'flag' if name.startswith('-') else 'command'} {name}", remedy=remedy)


def _exec(arguments: list[str]) -> int:
    from mirrord.cli import options

    parsed = options.parse(arguments)
    if parsed.dry_run is not None:
        from mirrord.cli import dry_run

        return dry_run.main(parsed)

    from mirrord.session import front

    return front.run(parsed)


def _trace(arguments: list[str]) -> int:
    from mirrord.cli import trace

    return trace.main(arguments)


def _dashboard(arguments: list[str]) -> int:
    from mirrord.cli import dashboard

    return dashboard.main(arguments)


def _sessions(arguments: list[str]) -> int:
    from mirrord.cli import sessions

    return sessions.main(arguments)


def _attach(arguments: list[str]) -> int:
    from mirrord.cli import attach

    return attach.attach(arguments)


def _detach(arguments: list[str]) -> int:
    from mirrord.cli import attach

    return attach.detach(arguments)


def _sandbox(arguments: list[str]) -> int:
    from mirrord.cli import sandbox

    return sandbox.main(arguments)


def _doctor(arguments: list[str]) -> int:
    from mirrord.cli import doctor

    return doctor.main(arguments)


def _why(arguments: list[str]) -> int:
    from mirrord.cli import why

    return why.main(arguments)


def _ls(arguments: list[str]) -> int:
    from mirrord.cli import ls

    return ls.main(arguments)


def _cleanup(arguments: list[str]) -> int:
    from mirrord.cli import cleanup

    return cleanup.main(arguments)


def _port_forward(arguments: list[str]) -> int:
    from mirrord.cli import port_forward

    return port_forward.main(arguments)


def _dump(arguments: list[str]) -> int:
    from mirrord.cli import dump

    return dump.main(arguments)


def _diagnose(arguments: list[str]) -> int:
    from mirrord.cli import diagnose

    return diagnose.main(arguments)


def _help(_: list[str]) -> int:
    print(_HELP, end="")
    return 0


def _version(_: list[str]) -> int:
    print(f"mirrord {VERSION}")
    return 0


_COMMANDS: Final[dict[str, Callable[[list[str]], int]]] = {
    "exec": _exec,
    "ls": _ls,
    "cleanup": _cleanup,
    "attach": _attach,
    "detach": _detach,
    "sandbox": _sandbox,
    "trace": _trace,
    "dashboard": _dashboard,
    "session": _sessions,
    "sessions": _sessions,
    "doctor": _doctor,
    "why": _why,
    "port-forward": _port_forward,
    "dump": _dump,
    "diagnose": _diagnose,
    "help": _help,
    "--help": _help,
    "-h": _help,
    "--version": _version,
    "-V": _version,
}
_FUTURE: Final = (
    *(
        "chaos",
        "ci",
        "completions",
        "container",
        "db-branches",
    ),
    *(
        "explain",
        "ext",
        "container-ext",
        "extract",
        "fix",
        "kill",
        "newsletter",
        "operator",
    ),
    *(
        "preview",
        "queues",
        "qs",
        "subscribe",
        "teams",
        "ui",
        "up",
        "verify-config",
    ),
    *("vpn", "wizard", "extproxy", "intproxy"),
)
"""Commands of the existing mirrord, and those that are planned."""
