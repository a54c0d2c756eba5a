"""A session in a container, whose sandbox runs outside of it."""

import json
from collections.abc import Callable, Iterator

import pytest

from ..support.build import command
from ..support.containers import Containers, containers
from ..support.running import Outcome, Runner
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


@pytest.mark.parametrize("who", ["ordinary", "current"])
def test_in_a_container_the_doctor_says_what_sessions_then_do(
    runner: Runner, engine_of_containers: Containers, everybody: Callable[[str], User], who: str
) -> None:
    """They are traced, as the test above shows, and have no sandbox of their own."""
    user = everybody(who)

    def inside(*argv: str) -> Outcome:
        return runner.run(engine_of_containers.command(user, user.mirrord, *argv))

    doctor, own = inside("doctor", "--json"), inside("exec", "-t", "sandbox", "--", "true")

    found = {one["subject"].partition(" (")[0]: one for one in json.loads(doctor.out)}
    assert doctor.code == 0
    assert found["another process's descriptors"]["outcome"] == "lacks"
    assert "pidfd_getfd in its seccomp profile" in found["another process's descriptors"]["remedy"]
    assert "by the engine ptrace, since pidfd_getfd(2) is refused" in found["launching a program"]["found"]
    assert found["pending connects"]["outcome"] == "works"
    assert found["the sandbox"]["outcome"] == "lacks"
    assert own.code == 125
    assert found["the sandbox"]["found"] in own.err
