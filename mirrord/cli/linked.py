"""Reads the command lines of commands that have a target and no program."""

import os
import sys
from collections.abc import Callable
from typing import Any, Final

from mirrord.cli.flags import FLAGS
from mirrord.cli.options import STDIN, add_flag
from mirrord.cli.parser import Parser
from mirrord.config.options import ExecOptions

_TAKEN: Final = frozenset(
    {
        *("--target", "--target-namespace", "--context", "--config-file", "--quiet", "--verbose"),
        *("--agent-namespace", "--ephemeral-container", "--agent-image", "--agent-ttl"),
        *("--agent-startup-timeout", "--accept-invalid-certificates", "--no-telemetry"),
        *("--disable-version-check",),
    }
)


def parser(name: str, usage: str, description: str) -> Parser:
    """Return a parser of the flags about the target and its agent."""
    made = Parser(name, usage=usage, description=description)
    for flag in FLAGS:
        if flag.names[-1] in _TAKEN:
            add_flag(made, flag)
    return made


def options(
    values: dict[str, Any], *, steal: bool = False, read_stdin: Callable[[], str] = lambda: sys.stdin.read()
) -> ExecOptions:
    """Return the options that the parsed values stand for; they are taken out."""
    fields = {flag.destination for flag in FLAGS if flag.names[-1] in _TAKEN}
    own = {name: values.pop(name) for name in fields}
    del own["disable_version_check"]
    config_file = own["config_file"] or os.environ.get("MIRRORD_CONFIG_FILE")
    stdin_config = read_stdin() if config_file == STDIN else None
    return ExecOptions(program=(), stdin_config=stdin_config, steal=steal, **own)
