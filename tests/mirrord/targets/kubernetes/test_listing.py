from typing import Any

import pytest

from mirrord.targets.kubernetes import listing
from mirrord.targets.kubernetes.listing import Listed
from mirrord.targets.kubernetes.manifest import LABELS
from mirrord.targets.kubernetes.objects import Pod, Workload


def workload(kind: str, **parts: Any) -> list[Listed]:
    metadata = {"name": "web", **parts.pop("metadata", {})}
    return list(listing._workload(kind, Workload.model_validate({"metadata": metadata, **parts})))


@pytest.mark.parametrize(
    ("kind", "status", "available"),
    [
        ("deployment", {"availableReplicas": 1}, True),
        ("deployment", {"replicas": 1}, False),
        ("daemonset", {"numberReady": 0}, False),
        ("job", {"ready": 1}, True),
        ("cronjob", {"active": [{}]}, True),
        ("cronjob", {}, False),
    ],
)
def test_workloads(kind: str, status: dict[str, Any], available: bool) -> None:
    assert workload(kind, status=status) == [Listed(f"{kind}/web", available)]


def test_what_is_not_listed() -> None:
    assert workload("replicaset", metadata={"ownerReferences": [{"uid": "a"}]}) == []
    assert workload("job", metadata={"labels": dict(LABELS)}) == []
    assert workload("service", spec={"selector": {}}) == []
    assert workload("service", spec={"selector": {"app": "web"}}) == [Listed("service/web", True)]


def pod(*names: str, **metadata: Any) -> list[Listed]:
    described = {
        "metadata": {"name": "web", **metadata},
        "spec": {"containers": [{"name": name} for name in names]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    return list(listing._pod(Pod.model_validate(described)))


def test_pods() -> None:
    assert pod("app") == [Listed("pod/web", True)]
    assert pod("app", deletionTimestamp="2026") == [Listed("pod/web", False)]
    assert pod("istio-proxy", "app") == [Listed("pod/web", True)]
    assert pod("app", "db") == [Listed("pod/web/container/app", True), Listed("pod/web/container/db", True)]
    assert pod("app", labels=dict(LABELS)) == []
