from typing import Any

import pytest

from mirrord.targets.kubernetes.objects import Pod
from mirrord.targets.kubernetes.probes import probed_ports


def probed(*containers: dict[str, Any], sidecars: tuple[dict[str, Any], ...] = ()) -> dict[int, str]:
    """Return what is found in a pod of these containers."""
    spec = {"containers": list(containers), "initContainers": list(sidecars) or None}
    return probed_ports(Pod.model_validate({"spec": spec}))


@pytest.mark.parametrize("kind", ["startup", "liveness", "readiness"])
@pytest.mark.parametrize("how", ["httpGet", "tcpSocket", "grpc"])
def test_every_kind_of_probe(kind: str, how: str) -> None:
    probe = {how: {"port": 8080}, "periodSeconds": 3}
    assert probed({"name": "app", f"{kind}Probe": probe}) == {8080: f"the {kind} probe of app"}


def test_a_port_may_be_named() -> None:
    ports = [
        {"name": "admin", "containerPort": 81},
        {"containerPort": 82},
        {"name": "http", "containerPort": 83},
    ]
    http = {"httpGet": {"port": "http"}}
    assert probed({"name": "app", "ports": ports, "readinessProbe": http}) == {
        83: "the readiness probe of app"
    }
    assert probed({"name": "app", "ports": None, "readinessProbe": http}) == {}


def test_probes_of_one_port_and_of_all_containers() -> None:
    probe = {"httpGet": {"port": 80}}
    found = probed(
        {"name": "app", "livenessProbe": probe, "readinessProbe": probe},
        {"name": "other", "livenessProbe": {"tcpSocket": {"port": 81}}},
        sidecars=({"name": "mesh", "startupProbe": {"httpGet": {"port": 82}}},),
    )
    assert found == {
        80: "the liveness probe of app and the readiness probe of app",
        81: "the liveness probe of other",
        82: "the startup probe of mesh",
    }


@pytest.mark.parametrize(
    "probe", [{"exec": {"command": ["true"]}}, {"httpGet": {"port": 80, "host": "example.com"}}, {}]
)
def test_what_asks_no_port_of_the_pod(probe: dict[str, Any]) -> None:
    assert probed({"name": "app", "livenessProbe": probe}) == {}
