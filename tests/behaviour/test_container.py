"""A session in a container, whose sandbox runs outside of it."""

from collections.abc import Callable, Iterator

import pytest

from ..support.build import command
from ..support.containers import Containers, containers
from ..support.running import Runner
from ..support.sandboxes import Sandbox
from ..support.user import User


@pytest.fixture(scope="module")
def engine_of_containers() -> Iterator[Containers]:
    with containers() as made:
        yield made


@pytest.mark.parametrize("kind", ["go", "python", "node", "java"])
def test_a_program_in_a_container_sees_its_pod(
    runner: Runner,
    engine_of_containers: Containers,
    everybody: Callable[[str], User],
    sandboxes: Callable[[User], Sandbox],
    kind: str,
) -> None:
    user = everybody("ordinary")
    sandbox = sandboxes(user)
    session = [user.mirrord, "exec", "-v", "-t", sandbox.target, "--", *command(f"identity-{kind}")]

    outcome = runner.run(engine_of_containers.command(user, *session))

    assert outcome.lines[:4] == [
        f"greeting={sandbox.greeting}",
        f"hostname={sandbox.hostname}",
        f"config={sandbox.config}",
        "echo=10.96.0.20",
    ]
    assert "engine: ptrace" in outcome.err
    assert "pidfd_getfd(2) is refused" in outcome.err
