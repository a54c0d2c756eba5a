"""What is printed for a security team is what is created."""

import json
from typing import Any

import yaml

from .conftest import Session


def printed(session: Session, target: str, *options: str) -> Any:
    line = session.line(target, options=["--dry-run=client", *options])
    assert line[-1] == "--"
    return yaml.safe_load(session.runner.run(line[:-1], env=session.environment()).out)


def test_a_job(session: Session) -> None:
    manifest = printed(session, "deployment/web", "-o", "yaml")
    assert not session.agents()
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1].startswith("--container-id=")
    created = session.cluster.kubectl(
        "apply", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(manifest)
    )
    assert json.loads(created)["metadata"]["namespace"] == session.workloads.namespace


def test_an_ephemeral_container(session: Session) -> None:
    container = printed(session, "pod/meshed", "-e", "-o", "json")
    assert container["targetContainerName"] == "app"
    assert "SYS_ADMIN" not in container["securityContext"]["capabilities"]["add"]
