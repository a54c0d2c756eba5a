"""The flags of ``mirrord exec``, as a table.

argparse gets its arguments from it, and it tells where the program begins.

argparse alone cannot: it reads every argument before it decides, so a program's own ``-classpath`` would be
taken for ours. Here the first argument that is no flag and no flag's value is the program, and nothing after
it is looked at.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mirrord.config.options import DEFAULT_CONFIG_FILE, ENGINES
from mirrord.errors import UsageError


class Flag(NamedTuple):
    """One flag; ``metavar`` is None for a switch."""

    names: tuple[str, ...]
    help: str = ""
    metavar: str | None = None
    default_value: str | None = None
    """What the flag stands for without its value, where it may be without."""
    choices: tuple[str, ...] | None = None
    supported: bool = True
    number: bool = False

    @property
    def destination(self) -> str:
        """The field of :class:`mirrord.config.options.ExecOptions` that the flag sets."""
        return _DESTINATIONS.get(self.names[-1], self.names[-1].removeprefix("--").replace("-", "_"))


FLAGS: Final = (
    Flag(
        ("-t", "--target"),
        "what to run in: `pod/NAME`, `deployment/NAME` and the like, `targetless`, or `sandbox`",
        "TARGET",
    ),
    Flag(("-n", "--target-namespace"), "the target's namespace; the context's by default", "NAMESPACE"),
    Flag(("--context",), "the context of the kubeconfig; its current one by default", "CONTEXT"),
    Flag(
        ("-f", "--config-file"),
        f"a configuration file, `-` for standard input; without FILE {DEFAULT_CONFIG_FILE}",
        "FILE",
        DEFAULT_CONFIG_FILE,
    ),
    Flag(("-q", "--quiet"), "say nothing unless something is wrong"),
    Flag(("-v", "--verbose"), "say more"),
    Flag(
        ("--fs-mode",),
        "whose files are used where no rule decides; `write` is not supported yet",
        "MODE",
        choices=("read", "write", "local", "local-with-overrides"),
    ),
    Flag(("--steal",), "take connections to the target's ports, in place of copies of them"),
    Flag(("--no-outgoing",), "make all connections from this machine"),
    Flag(("--no-tcp-outgoing",), "make TCP connections from this machine"),
    Flag(("--no-udp-outgoing",), "send datagrams from this machine"),
    Flag(("--no-remote-dns",), "resolve names on this machine"),
    Flag(("-s", "--override-env-vars-include"), "take only these variables of the target: `A;B*`", "LIST"),
    Flag(("-x", "--override-env-vars-exclude"), "take all variables of the target but these: `A;B*`", "LIST"),
    Flag(("--env-file",), "lines of NAME=VALUE that go over the target's variables", "FILE"),
    Flag(("-a", "--agent-namespace"), "where the agent runs; the target's namespace by default", "NAMESPACE"),
    Flag(("-e", "--ephemeral-container"), "run the agent in an ephemeral container of the target's pod"),
    Flag(("-i", "--agent-image"), "the agent's image", "IMAGE"),
    Flag(("--agent-ttl",), "how long the cluster keeps an agent that has ended", "SECONDS", number=True),
    Flag(("--agent-startup-timeout",), "how long the agent may take to start", "SECONDS", number=True),
    Flag(("-c", "--accept-invalid-certificates"), "take whatever certificate the API server has"),
    Flag(
        ("--dry-run",),
        "print what would be created in the cluster, as YAML, and run nothing",
        "client",
        "client",
        choices=("client",),
    ),
    Flag(("-o", "--output"), "the form of --dry-run", "yaml", choices=("yaml", "json")),
    Flag(("-k", "--key"), "the session's key; random by default", "KEY"),
    Flag(("--skip-processes",), "names of programs to leave alone: `a;b`", "LIST"),
    Flag(
        ("--engine",),
        "how system calls are intercepted: `notify`, or `ptrace` where that does not work",
        "ENGINE",
        choices=ENGINES,
    ),
    Flag(("--no-telemetry",), "accepted for compatibility; there is no telemetry"),
    Flag(("--disable-version-check",), "accepted for compatibility; there is no version check"),
    Flag(("-h", "--help"), "show this"),
    Flag(("-l", "--agent-log-level"), metavar="LEVEL", supported=False),
)
"""The existing mirrord's, and ``--engine``, ``-q``, ``-v``; in the order of ``--help``."""

_DESTINATIONS: Final = {
    "--verbose": "verbosity",
    "--override-env-vars-include": "env_include",
    "--override-env-vars-exclude": "env_exclude",
}
_Flags = Mapping[str, Flag]


def _by_name(flags: Sequence[Flag]) -> dict[str, Flag]:
    return {name: flag for flag in flags for name in flag.names}


_BY_NAME: Final = _by_name(FLAGS)


def split_program(arguments: list[str], *, extra: Sequence[Flag] = ()) -> tuple[list[str], list[str]]:
    """Divide the arguments of ``exec`` into our flags and the program with its own.

    ``extra`` are the flags of a command that has more than ``exec``. Raises UsageError for a flag that is
    unknown, naming the nearest, or not supported yet.
    """
    flags = _BY_NAME | _by_name(extra)
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            return arguments[:position], arguments[position + 1 :]
        if argument == "-" or not argument.startswith("-"):
            break
        position += 1 + _value_follows(flags, argument, arguments[position + 1 : position + 2])
    return arguments[:position], arguments[position:]


def _value_follows(flags: _Flags, argument: str, following: list[str]) -> bool:
    flag, attached = (_long if argument.startswith("--") else _short)(flags, argument)
    if flag.metavar is None or attached or not following:
        return False
    return flag.default_value is None or following == ["-"] or not following[0].startswith("-")


def _long(flags: _Flags, argument: str) -> tuple[Flag, bool]:
    name, equals, _ = argument.partition("=")
    return _known(flags, name), bool(equals)


def _short(flags: _Flags, argument: str) -> tuple[Flag, bool]:
    """Look into ``-qv`` and ``-tsandbox``: letters up to the first that takes a value."""
    flag = _known(flags, argument[:2], argument)
    for position in range(2, len(argument) + 1):
        if flag.metavar is not None or position == len(argument):
            return flag, position < len(argument)
        flag = _known(flags, f"-{argument[position]}", argument)
    return flag, False


def _known(flags: _Flags, name: str, argument: str | None = None) -> Flag:
    flag = flags.get(name)
    if flag is None:
        raise UsageError(f"unknown flag {argument or name}", remedy=_nearest(flags, argument or name))
    if not flag.supported:
        raise UsageError(f"{'/'.join(flag.names)} is not supported yet", remedy="leave it out")
    return flag


def _nearest(flags: _Flags, name: str) -> str:
    supported = [known for known, flag in flags.items() if flag.supported and known.startswith("--")]
    near = difflib.get_close_matches(f"--{name.lstrip('-')}", supported, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else "see mirrord exec --help"
