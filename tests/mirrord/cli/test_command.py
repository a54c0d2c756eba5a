import sys
import types
from importlib import metadata

import pytest

from mirrord.cli import command
from mirrord.config.options import ExecOptions
from mirrord.errors import UsageError


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["--version"]) == 0
    assert capsys.readouterr().out == f"mirrord {metadata.version('mirrord')}\n"


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run([flag]) == 0
    assert "mirrord exec -t sandbox" in capsys.readouterr().out


def test_exec_passes_the_options_to_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[ExecOptions] = []
    front = types.ModuleType("front")

    def note(options: ExecOptions) -> int:
        passed.append(options)
        return 3

    vars(front)["run"] = note
    monkeypatch.setitem(sys.modules, "mirrord.session.front", front)
    monkeypatch.setattr("mirrord.session.front", front, raising=False)
    assert command.run(["exec", "-t", "sandbox", "ls", "-l"]) == 3
    assert passed == [ExecOptions(program=("ls", "-l"), target="sandbox")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "no command was given"),
        ("exce ls", "unknown command exce; did you mean mirrord exec"),
        ("vpn 1", "mirrord vpn is not supported yet"),
        ("vpn", "mirrord vpn is not supported yet"),
        ("--verbose", "unknown flag --verbose"),
        ("qqqqqq", "unknown command qqqqqq; see mirrord --help"),
    ],
)
def test_usage_errors(line: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        command.run(line.split())
