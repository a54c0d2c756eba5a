import dataclasses
from typing import Any

import pytest

from mirrord.config.load import resolve, validate
from mirrord.config.model import Settings
from mirrord.config.options import ExecOptions
from mirrord.targets.kubernetes.choose import Chosen
from mirrord.targets.kubernetes.manifest import (
    Ports,
    capabilities,
    ephemeral_container,
    job,
    new_name,
    own_ports,
    random_ports,
)

WEB = Chosen(pod="web-1", namespace="prod", node="node1", container="app", id="a" * 64)
KEY = bytes(range(32))
PORTS = own_ports(proxy=True)


def settings(agent: dict[str, Any] | None = None, **options: Any) -> Settings:
    import json

    file = json.dumps({"agent": agent or {}})
    given = ExecOptions(
        program=("true",), target="deployment/web", config_file="-", stdin_config=file, **options
    )
    return resolve(given, {})


def pod(manifest: dict[str, Any]) -> Any:
    return manifest["spec"]["template"]["spec"]


def test_beside_a_container() -> None:
    manifest = job("mirrord-agent-x", settings(), WEB, client_key=KEY, ports=PORTS)
    spec = pod(manifest)
    (container,) = spec["containers"]
    assert (spec["nodeName"], spec["hostPID"]) == ("node1", True)
    assert container["args"] == [
        "--listen=tcp:127.0.0.1:7737",
        "--listen=tls:*:7738",
        f"--client-key={KEY.hex()}",
        "--patience=30",
        f"--container-id={'a' * 64}",
    ]
    assert container["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["SYS_ADMIN", "SYS_PTRACE", "SETUID", "SETGID", "DAC_OVERRIDE", "NET_RAW"],
    }
    assert spec["automountServiceAccountToken"] is False
    assert manifest["spec"]["ttlSecondsAfterFinished"] == 1
    assert manifest["spec"]["backoffLimit"] == 0


def test_nothing_of_the_node_is_mounted() -> None:
    for target in (WEB, None):
        spec = pod(job("x", settings(), target, client_key=KEY, ports=PORTS))
        assert "volumes" not in spec
        assert not spec.get("hostNetwork")
        assert not spec.get("hostIPC")


def test_without_a_target_nothing_is_granted() -> None:
    spec = pod(job("x", settings(), None, client_key=KEY, ports=PORTS))
    (container,) = spec["containers"]
    assert "hostPID" not in spec
    assert "nodeName" not in spec
    assert container["args"][-1] == "--targetless"
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["runAsNonRoot"] is True
    assert context["readOnlyRootFilesystem"] is True


def test_in_the_targets_own_pod() -> None:
    wanted = settings(ephemeral_container=True)
    container = ephemeral_container(
        "mirrord-agent-x", wanted, WEB, client_key=KEY, ports=Ports(30_123, 30_124)
    )
    assert (container["name"], container["targetContainerName"]) == ("mirrord-agent-x", "app")
    assert container["args"][:2] == ["--listen=tcp:127.0.0.1:30123", "--listen=tls:*:30124"]
    assert "resources" not in container
    assert container["securityContext"]["capabilities"]["add"] == [
        "SYS_PTRACE",
        "SETUID",
        "SETGID",
        "DAC_OVERRIDE",
        "NET_RAW",
    ]


def test_ports_are_those_that_programs_hardly_use() -> None:
    # below the kernel's own choice for connections (ip_local_port_range in ip(7)), which begins at 32768
    for _ in range(1000):
        ports = random_ports(proxy=True)
        assert ports.tls == ports.loopback + 1
        assert 30_000 <= ports.loopback < 32_767


def test_without_the_pod_proxy_only_the_pod_itself_reaches_the_agent() -> None:
    for ports in (own_ports(proxy=False), random_ports(proxy=False)):
        (container,) = pod(job("x", settings(), WEB, client_key=KEY, ports=ports))["containers"]
        listening = [one for one in container["args"] if one.startswith("--listen")]
        assert listening == [f"--listen=tcp:127.0.0.1:{ports.loopback}"]


@pytest.mark.parametrize(
    ("tree", "wanted"),
    [
        ({"agent": {"disabled_capabilities": ["SYS_ADMIN"]}}, ("NET_RAW",)),
        ({"feature": {"network": {"incoming": "off"}}}, ("SYS_ADMIN",)),
        ({"agent": {"disabled_capabilities": ["SYS_ADMIN", "NET_RAW"]}}, ()),
    ],
)
def test_only_what_the_session_needs_is_asked_for(tree: dict[str, Any], wanted: tuple[str, ...]) -> None:
    always = {"SYS_PTRACE", "SETUID", "SETGID", "DAC_OVERRIDE"}
    chosen = dataclasses.replace(settings(), configuration=validate(tree))
    assert set(capabilities(chosen)) == always | set(wanted)


@pytest.mark.parametrize(
    ("agent", "image"),
    [
        ({}, "ghcr.io/mirrord/mirrord-agent:0.1.0"),
        ({"image": "registry:5000/agent"}, "registry:5000/agent:0.1.0"),
        ({"image": "agent:7"}, "agent:7"),
        ({"image": {"tag": "7"}}, "ghcr.io/mirrord/mirrord-agent:7"),
    ],
)
def test_the_image(agent: dict[str, Any], image: str) -> None:
    (container,) = pod(job("x", settings(agent), WEB, client_key=KEY, ports=PORTS))["containers"]
    assert container["image"] == image


def test_what_the_configuration_says_of_the_pod() -> None:
    agent = {
        "labels": {"team": "a"},
        "annotations": {"note": "b"},
        "ttl": 60,
        "communication_timeout": 5,
        "image_pull_policy": "Never",
        "image_pull_secrets": [{"name": "registry"}],
        "tolerations": [],
        "resources": {},
        "service_account": "agents",
        "priority_class": "high",
        "disable_mesh_sidecar_injection": False,
    }
    manifest = job("x", settings(agent), WEB, client_key=KEY, ports=PORTS)
    metadata, spec = manifest["spec"]["template"]["metadata"], pod(manifest)
    assert metadata["labels"] == {
        "app": "mirrord",
        "app.kubernetes.io/managed-by": "mirrord",
        "team": "a",
    }
    assert metadata["annotations"] == {"note": "b"}
    assert manifest["spec"]["ttlSecondsAfterFinished"] == 60
    assert "--patience=5" in spec["containers"][0]["args"]
    assert spec["containers"][0]["imagePullPolicy"] == "Never"
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert (spec["tolerations"], spec["containers"][0]["resources"]) == ([], {})
    assert (spec["serviceAccountName"], spec["priorityClassName"]) == ("agents", "high")


def test_meshes_are_told_to_leave_it_alone() -> None:
    metadata = job("x", settings(), WEB, client_key=KEY, ports=PORTS)["spec"]["template"]["metadata"]
    assert metadata["labels"]["kuma.io/sidecar-injection"] == "disabled"
    assert metadata["annotations"]["sidecar.istio.io/inject"] == "false"


def test_privileged() -> None:
    (container,) = pod(job("x", settings({"privileged": True}), WEB, client_key=KEY, ports=PORTS))[
        "containers"
    ]
    assert container["securityContext"]["privileged"] is True


def test_node_selectors_are_for_no_target_only() -> None:
    agent = {"node_selector": {"disk": "fast"}}
    assert pod(job("x", settings(agent), None, client_key=KEY, ports=PORTS))["nodeSelector"] == {
        "disk": "fast"
    }
    assert "nodeSelector" not in pod(job("x", settings(agent), WEB, client_key=KEY, ports=PORTS))


def test_names_differ() -> None:
    assert new_name() != new_name()
    assert len(new_name()) <= 63
