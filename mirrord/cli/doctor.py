"""The command line of ``mirrord doctor``."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from mirrord.cli.flags import FLAGS
from mirrord.cli.options import add_flag
from mirrord.cli.parser import Parser
from mirrord.doctor.finding import Finding, Outcome

_USAGE: Final = "mirrord doctor [--json] [-t TARGET] [-f FILE] [CLUSTER'S FLAGS]"
_DESCRIPTION: Final = """\
Try what sessions need of this machine, each thing in a process of its own; with a
target also what they need there: an agent is started, and ended.
The exit code is 0 if sessions can run, 1 if not."""
_OF_TARGETS: Final = (
    *("--target", "--target-namespace", "--context", "--config-file", "--accept-invalid-certificates"),
    *("--agent-namespace", "--ephemeral-container", "--agent-image", "--agent-startup-timeout"),
)
_MARKS: Final = {Outcome.WORKS: ("✓", "green"), Outcome.LACKS: ("!", "yellow"), Outcome.FAILS: ("x", "red")}


def main(arguments: list[str]) -> int:
    """Try everything and report it; return 1 if sessions cannot run here."""
    parser = Parser("mirrord doctor", usage=_USAGE, description=_DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="a JSON list, for programs")
    for flag in FLAGS:
        if flag.supported and flag.names[-1] in _OF_TARGETS:
            add_flag(parser, flag)
    values = vars(parser.parse_args(arguments))
    as_json = values.pop("json")

    from mirrord.doctor.attempts import attempts

    # before a progress display or anything else has threads: each attempt forks
    findings = [attempt.make() for attempt in attempts()]
    if values["target"] is not None or values["config_file"] is not None:
        findings += _of_target(values)
    if as_json:
        json.dump([_as_dict(finding) for finding in findings], sys.stdout, indent=2)
        print()
    else:
        _print(findings)
    return int(any(finding.outcome is Outcome.FAILS for finding in findings))


def _of_target(values: dict[str, Any]) -> "Sequence[Finding]":
    from mirrord.config.load import resolve
    from mirrord.config.options import ExecOptions
    from mirrord.doctor.target import examine

    return examine(resolve(ExecOptions(program=("doctor",), **values), os.environ))


def _as_dict(finding: Finding) -> dict[str, str]:
    return {
        "subject": finding.subject,
        "outcome": finding.outcome.value,
        "found": finding.found,
        "cost": finding.cost,
        "remedy": finding.remedy,
    }


def _print(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark, colour = _MARKS[finding.outcome]
        console.print(
            Text.assemble((mark, colour), f" {finding.subject:{width}}  {finding.found}"), soft_wrap=True
        )
        for text in filter(None, (finding.cost, finding.remedy)):
            console.print(Text(f"    {text}", style="dim"), soft_wrap=True)
    console.print(Text(_summary(findings)))


def _summary(findings: Sequence[Finding]) -> str:
    outcomes = {finding.outcome for finding in findings}
    if Outcome.FAILS in outcomes:
        return "Sessions cannot run on this machine; see the lines marked x."
    if Outcome.LACKS in outcomes:
        return "Sessions run on this machine, with the restrictions marked !."
    return "Everything works; sessions use the notify engine."
