"""Sessions that run: listed, looked at, stopped."""

import json
import signal
from typing import Any

import pytest

from ..conftest import Line
from ..support.needs import tool
from ..support.running import Runner, write
from ..support.user import User
from ..support.waiting import until


def _listed(runner: Runner, user: User) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(runner.run([user.mirrord, "sessions", "--json"]).out)
    return found


def _at_terminal(user: User, columns: int) -> list[str]:
    return [tool("script"), "-qec", f"stty cols {columns}; {user.mirrord} sessions", "/dev/null"]


@pytest.mark.both_users
def test_a_session_is_listed_while_it_runs(runner: Runner, line: Line, user: User) -> None:
    assert runner.run([user.mirrord, "sessions"]).lines == ["No session runs."]
    with runner.start(line("sh", "-c", "read word", options=["-q"])) as session:
        (found,) = until("the session", lambda: _listed(runner, user))
        piped = runner.run([user.mirrord, "sessions"]).lines
        shown = [runner.run(_at_terminal(user, columns)).lines for columns in (60, 80)]
        write(session, "word\n")
        session.communicate(timeout=20)
    assert found["program"] == ["sh", "-c", "read word"]
    assert {"outgoing TCP", "files (read)"} <= set(found["remote"])
    assert found["target"].startswith(line.sandbox.hostname)
    assert piped == [
        f"{found['id']}  process {found['pid']}",
        "    program  sh -c read word",
        f"    target   {found['target']}",
        f"    remote   {', '.join(found['remote'])}",
    ]
    for columns, lines in zip((60, 80), shown, strict=True):
        assert lines[0].split() == piped[0].split()
        assert max(map(len, lines)) <= columns
        assert " ".join(" ".join(lines).split()) == " ".join(" ".join(piped).split())
    assert not _listed(runner, user)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("read word", -signal.SIGTERM),
        ("trap 'exit 3' TERM; read word", 3),
        ("trap '' TERM; setsid sleep 100 & exec sleep 100", -signal.SIGKILL),
    ],
)
def test_a_session_is_stopped(runner: Runner, line: Line, user: User, script: str, code: int) -> None:
    with runner.start(line("bash", "-c", script, options=["-q"])) as session:
        (found,) = until("the session", lambda: _listed(runner, user))
        done = runner.run([user.mirrord, "sessions", "stop", found["id"][:5]])
        session.communicate(timeout=20)
    assert done.code == 0, done.err
    assert session.returncode == code


@pytest.mark.parametrize("verb", [("sessions", "stop", "nobody"), ("dashboard", "nobody")])
def test_a_session_that_is_not_there(runner: Runner, user: User, verb: tuple[str, ...]) -> None:
    done = runner.run([user.mirrord, *verb])
    assert done.code in (2, 125)
    assert "no session runs" in done.err or "needs a terminal" in done.err
