"""One binary, twice: in a session, and in the pod."""

from collections.abc import Callable

import pytest

from ..conftest import Mirrord
from ..support.build import command
from ..support.running import Outcome
from ..support.sandboxes import Sandbox

pytestmark = [
    pytest.mark.both_engines,
    pytest.mark.sample("ordinary-ptrace-(sh|static|go|python|node)|current-ptrace-java"),
]

KINDS = ("sh", "c", "static", "musl", "go", "rust", "python", "node", "java")


@pytest.mark.both_users
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_sees_its_pod(
    kind: str, mirrord: Mirrord, in_pod: Callable[..., Outcome], sandbox: Sandbox
) -> None:
    line = command(f"identity-{kind}")

    session = mirrord(*line, options=["-v"])

    assert session.lines[:4] == [
        f"greeting={sandbox.greeting}",
        f"hostname={sandbox.hostname}",
        f"config={sandbox.config}",
        "echo=10.96.0.20",
    ]
    assert session.lines == in_pod(*line).lines
    asked = session.statistics
    assert asked["get_environment"] == 1
    assert asked["open_tcp"] >= 1
    assert asked["open_udp"] >= 1
    assert asked["open_file"] >= 1
