"""``mirrord ls`` in a real cluster."""

import json

import pytest

from .conftest import Session


def listed(session: Session, *options: str, env: dict[str, str] | None = None) -> str:
    """Run it in the namespace of the workloads."""
    line = [session.runner.user.mirrord, "ls", "-n", session.workloads.namespace, *options]
    found = session.runner.run(line, env={**session.environment(), **(env or {})})
    assert (found.code, found.err) == (0, "")
    return found.out


def test_as_json(session: Session) -> None:
    targets = json.loads(listed(session))
    web = [f"pod/{name}" for name in session.pods("app=web")]
    assert {"deployment/web", "statefulset/db", "daemonset/every", "replicaset/copies", "job/task"} <= {
        *targets
    }
    assert {"service/web", "pod/meshed/container/app", "pod/meshed/container/other", *web} <= {*targets}
    assert not [target for target in targets if "istio-proxy" in target or "rollout" in target]


def test_as_a_table(session: Session) -> None:
    assert listed(session, "-o", "table", "-t", "deployment").split() == ["deployment/web", "ready"]


def test_as_an_ide_asks_for_it(session: Session) -> None:
    env = {"MIRRORD_LS_RICH_OUTPUT": "true", "MIRRORD_LS_TARGET_TYPES": '["deployment"]'}
    found = json.loads(listed(session, env=env))
    assert found["targets"] == [{"path": "deployment/web", "available": True}]
    assert found["current_namespace"] == session.workloads.namespace
    assert {"default", "kube-system", session.workloads.namespace} <= {*found["namespaces"]}


@pytest.mark.parametrize("kind", ["deployment", "pod"])
def test_agents_are_not_listed(kind: str, session: Session) -> None:
    line = session.line("pod/meshed", "sh", "-c", "cat")
    with session.runner.start(line, env=session.environment()) as process:
        assert process.stderr is not None
        while "files: " not in process.stderr.readline():
            pass
        assert "mirrord" not in listed(session, "-t", kind)
        process.communicate(timeout=30)
