import pytest

from mirrord.targets.kubernetes.objects import KINDS, Pod, Workload


def test_what_is_null_is_as_if_it_were_absent() -> None:
    pod = Pod.model_validate(
        {
            "metadata": {"name": "web", "labels": None, "managedFields": []},
            "spec": {"nodeName": "node1", "containers": [{"name": "app", "image": "x"}]},
            "status": {
                "phase": "Running",
                "conditions": None,
                "containerStatuses": [{"name": "app", "containerID": "crio://a", "state": None}],
            },
        }
    )
    assert (pod.metadata.labels, pod.status.conditions) == ({}, ())
    assert pod.spec.containers[0].name == "app"
    (status,) = pod.status.container_statuses
    assert (status.container_id, status.ready, status.state.running) == ("crio://a", False, None)


@pytest.mark.parametrize(
    ("status", "deleted", "ready"), [("True", None, True), ("False", None, False), ("True", "2026", False)]
)
def test_a_pod_that_is_ready(status: str, deleted: str | None, ready: bool) -> None:
    metadata = {"deletionTimestamp": deleted}
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": status}]
    pod = Pod.model_validate({"metadata": metadata, "status": {"conditions": conditions}})
    assert pod.ready is ready


def test_owners() -> None:
    job = Workload.model_validate({"metadata": {"ownerReferences": [{"uid": "a", "kind": "CronJob"}]}})
    assert [owner.uid for owner in job.metadata.owner_references] == ["a"]


@pytest.mark.parametrize(
    ("kind", "path", "resource"),
    [
        ("deployment", "/apis/apps/v1/namespaces/prod/deployments/web", "deployments.apps"),
        ("pod", "/api/v1/namespaces/prod/pods/web", "pods"),
        ("rollout", "/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/web", "rollouts.argoproj.io"),
    ],
)
def test_where_kinds_are(kind: str, path: str, resource: str) -> None:
    assert KINDS[kind].path("prod", "web") == path
    assert KINDS[kind].path("prod") == path.removesuffix("/web")
    assert KINDS[kind].resource == resource
