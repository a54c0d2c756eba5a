"""An agent in an ephemeral container of the target's own pod."""

import json
from pathlib import Path
from typing import Any

import pytest

from ..support.build import command
from ..support.waiting import until
from .conftest import Session


def containers(session: Session, pod: str) -> list[Any]:
    """Return the states of the ephemeral containers of a pod."""
    found = session.cluster.get("pod", pod, f"--namespace={session.workloads.namespace}")
    return [one["state"] for one in found["status"].get("ephemeralContainerStatuses", [])]


@pytest.mark.parametrize("kind", ["go", "python"])
def test_a_program_sees_its_pod(kind: str, session: Session) -> None:
    found = session("deployment/web", *command(f"identity-{kind}"), options=["-e"])

    first = session.pods("app=web")[0]
    assert found.lines[:3] == [
        f"greeting={session.workloads.greeting}",
        f"hostname={first}",
        f"config={session.workloads.config}",
    ]
    assert found.lines[4] == f"answer={bytes(range(16)).hex()}"
    assert not session.agents()
    ended = until(
        "it has ended", lambda: all("terminated" in one for one in containers(session, first)), seconds=30
    )
    assert ended
    assert [one["terminated"]["exitCode"] for one in containers(session, first)].count(0) >= 1


def test_the_container_that_it_is_for(session: Session) -> None:
    found = session("pod/meshed/container/other", "sh", "-c", "echo $GREETING", options=["-e"])
    assert found.lines == ["other"]


def test_it_needs_no_capability_to_join_the_network(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "mirrord.json"
    file.write_text(json.dumps({"agent": {"ephemeral": True, "disabled_capabilities": ["SYS_ADMIN"]}}))
    found = session("pod/meshed", "sh", "-c", "echo $GREETING", options=["-f", str(file)])
    assert found.lines == [session.workloads.greeting]


def test_local_files(session: Session) -> None:
    show = ("sh", "-c", "echo $GREETING; cat /app/config.yaml")
    for options in ([], ["-e"]):
        found = session("pod/meshed", *show, options=["--fs-mode", "local", *options])
        assert found.out == f"{session.workloads.greeting}\n"
        assert "/app/config.yaml: No such file" in found.err
