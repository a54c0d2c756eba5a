"""Unix sockets: the target's where a rule says so, this machine's otherwise."""

import json
from pathlib import Path

import pytest

from ..conftest import Mirrord
from ..support.build import command
from ..support.user import User

pytestmark = pytest.mark.both_engines

SOCKET = "/app/echo.sock"


@pytest.fixture
def rule(user: User) -> Path:
    """A configuration that makes the sockets of /app remote."""
    path = user.home / "unix.json"
    path.write_text(json.dumps({"feature": {"network": {"outgoing": {"unix_streams": ["^/app/"]}}}}))
    return path


@pytest.mark.both_users
def test_a_stream_whose_path_matches_is_the_targets(mirrord: Mirrord, rule: Path) -> None:
    session = mirrord(*command("unix"), SOCKET, options=["-v", "-f", str(rule)])

    assert session.lines == ["word echoed"]
    assert session.statistics["open_unix"] == 1


def test_one_that_is_not_there_is_not_found(mirrord: Mirrord, rule: Path) -> None:
    session = mirrord(*command("unix"), "/app/none.sock", options=["-f", str(rule)])

    assert session.out == "connect: ENOENT\n"


def test_without_a_rule_it_is_this_machines(mirrord: Mirrord) -> None:
    session = mirrord(*command("unix"), SOCKET, options=["-v"])

    assert session.out == "connect: ENOENT\n"
    assert "open_unix" not in session.statistics
