import sys
import types
from typing import Any

import pytest

from mirrord.cli import sandbox
from mirrord.errors import UsageError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the sandbox's commands by ones that only note how they were called."""
    noted: list[Any] = []

    def note(*args: Any, **named: Any) -> int:
        noted.append(args or named)
        return 7

    package, commands = types.ModuleType("mirrord.targets.sandbox"), types.ModuleType("commands")
    vars(commands).update(up=note, exec_=note, run=note)
    vars(package).update(commands=commands, __path__=[])
    monkeypatch.setitem(sys.modules, "mirrord.targets.sandbox", package)
    monkeypatch.setitem(sys.modules, "mirrord.targets.sandbox.commands", commands)
    return noted


def test_up(calls: list[Any]) -> None:
    flags = ["--name", "n", "--hostname", "h", "--env", "A=1=2", "--env", "B=", "--file", "/a=b=c"]
    assert sandbox.main(["up", *flags]) == 7
    assert calls == [{"name": "n", "hostname": "h", "env": {"A": "1=2", "B": ""}, "files": {"/a": "b=c"}}]


def test_up_without_anything(calls: list[Any]) -> None:
    sandbox.main(["up"])
    assert calls == [{"name": "default", "hostname": None, "env": {}, "files": {}}]


@pytest.mark.parametrize("verb", ["exec", "run"])
def test_commands_keep_their_own_flags(verb: str, calls: list[Any]) -> None:
    sandbox.main([verb, "--", "ls", "--name", "x"])
    sandbox.main([verb, "ls", "-l"])
    sandbox.main([verb, "--name", "n", "ls", "--name=m"])
    sandbox.main([verb, "--name=n", "--", "--", "ls"])
    assert calls == [
        ("default", ["ls", "--name", "x"]),
        ("default", ["ls", "-l"]),
        ("n", ["ls", "--name=m"]),
        ("n", ["--", "ls"]),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("down", "unknown sandbox command down"),
        ("up --env hunter2", "the value of --env"),
        ("up --file a=b", "the path a is not absolute"),
        ("up --name a/b", "is not a name for a sandbox"),
        ("up --bogus", "unrecognized arguments"),
        ("exec", "no command was given"),
        ("run --name", "expected one argument"),
    ],
)
def test_usage_errors(line: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        sandbox.main(line.split())
    assert "hunter2" not in str(caught.value)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert sandbox.main(["--help"]) == 0
    assert sandbox.main([]) == 2
    assert "sandbox up" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a b", "A", "-a", "a-", "", "a.b", "a" * 64])
def test_a_host_name_that_no_pod_has_is_refused(name: str, calls: list[Any]) -> None:
    with pytest.raises(UsageError, match="is no host name for a pod"):
        sandbox.main(["up", f"--hostname={name}"])
    assert calls == []
