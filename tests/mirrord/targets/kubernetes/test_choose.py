from typing import Any

import pytest

from mirrord.config.target import ClusterTarget
from mirrord.errors import TargetError
from mirrord.targets.kubernetes import choose as chosen
from mirrord.targets.kubernetes.choose import Chosen, default_container
from mirrord.targets.kubernetes.objects import Pod, Selector


def pod(*names: str, annotation: str = "", phase: str = "Running", **status: Any) -> Pod:
    """Return a pod whose containers all run, unless told otherwise."""
    annotations = {"kubectl.kubernetes.io/default-container": annotation} if annotation else {}
    states = [
        {
            **{"name": name, "ready": True, "image": "", "imageID": "", "restartCount": 0},
            **{"containerID": f"containerd://{'a' * 64}", "state": {"running": {}}},
            **status,
        }
        for name in names
    ]
    return Pod.model_validate(
        {
            "metadata": {"name": "web-1", "namespace": "prod", "annotations": annotations},
            "spec": {
                "nodeName": "node1",
                "containers": [{"name": name, "livenessProbe": {"grpc": {"port": 9}}} for name in names],
            },
            "status": {"phase": phase, "containerStatuses": states},
        }
    )


@pytest.mark.parametrize(
    ("names", "annotation", "expected"),
    [
        (("app", "other"), "", "app"),
        (("istio-proxy", "app"), "", "app"),
        (("istio-proxy", "linkerd-proxy"), "", "istio-proxy"),
        (("app", "other"), "other", "other"),
    ],
)
def test_the_container_that_is_meant(names: tuple[str, ...], annotation: str, expected: str) -> None:
    assert default_container(pod(*names, annotation=annotation)) == expected


def test_one_that_can_be_impersonated() -> None:
    one = pod("istio-proxy", "app", "other")
    found = chosen.chosen_of(one, None)
    assert isinstance(found, Chosen)
    assert (found.pod, found.namespace, found.node) == ("web-1", "prod", "node1")
    assert (found.container, found.id, found.others) == ("app", "a" * 64, ("other",))
    assert found.probes.keys() == {9}


@pytest.mark.parametrize(
    ("one", "wanted", "reason"),
    [
        (pod("app", phase="Pending", state={"waiting": {"reason": "X"}}), None, "is Pending (X)"),
        (pod("app"), "none", "has no container none; it has app"),
        (
            pod("app", state={"waiting": {"reason": "CrashLoopBackOff"}}),
            None,
            "has a container app that is not running (CrashLoopBackOff)",
        ),
        (pod("app", ready=False), None, "has a container app that is not ready"),
    ],
)
def test_one_that_cannot(one: Pod, wanted: str | None, reason: str) -> None:
    assert chosen.chosen_of(one, wanted) == reason


def test_one_that_is_about_to_end() -> None:
    one = pod("app")
    raw = one.model_dump(by_alias=True)
    raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ending = Pod.model_validate(raw)
    assert chosen.chosen_of(ending, None, ready=False) == "is being deleted"


def test_one_that_is_not_ready_yet() -> None:
    found = chosen.chosen_of(pod("app", ready=False), None, ready=False)
    assert isinstance(found, Chosen)
    assert found.container == "app"


def test_selectors_as_text() -> None:
    selector = Selector.model_validate(
        {
            "matchLabels": {"app": "web", "tier": "x"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["1", "2"]},
                {"key": "b", "operator": "NotIn", "values": ["3"]},
                {"key": "c", "operator": "Exists"},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        }
    )
    target = ClusterTarget("deployment", "web")
    assert chosen._as_text(selector, target) == "app=web,tier=x,a in (1,2),b notin (3),c,!d"
    with pytest.raises(TargetError, match="does not say by which labels"):
        chosen._as_text(Selector(), target)
