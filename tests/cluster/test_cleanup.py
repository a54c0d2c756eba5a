"""``mirrord cleanup`` in a real cluster."""

from typing import Any

from mirrord.targets.kubernetes.manifest import LABELS

from .conftest import Session
from .test_ends import ready


def cleanup(session: Session, *options: str) -> list[str]:
    """Run it in the namespace of the workloads."""
    line = [session.runner.user.mirrord, "cleanup", "-n", session.workloads.namespace, *options]
    return session.runner.run(line, env=session.environment()).lines


def stuck(session: Session) -> dict[str, Any]:
    """Return the Job of an agent that never starts."""
    container = {"name": "mirrord-agent", "image": "localhost/none:test"}
    pod = {"metadata": {"labels": LABELS}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    metadata = {"name": "mirrord-agent-stuck", "namespace": session.workloads.namespace, "labels": LABELS}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": pod}}


def test_one_that_may_be_starting_is_left_alone(session: Session) -> None:
    session.cluster.apply(stuck(session))
    left = "left mirrord-agent-stuck, which is in use or starting"
    assert cleanup(session) == [left]
    assert cleanup(session, "--all") == ["deleted mirrord-agent-stuck"]
    assert cleanup(session) == [f"no agents in the namespace {session.workloads.namespace}"]


def test_one_that_is_in_use_is_left_alone(session: Session) -> None:
    with ready(session) as process:
        (line,) = cleanup(session)
        assert line.startswith("left mirrord-agent-")
        out, _ = process.communicate(timeout=30)
    assert out.split()[1] == session.workloads.greeting
