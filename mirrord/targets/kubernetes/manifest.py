"""The Job that runs an agent: a function of the settings and of the chosen container, nothing else."""

import secrets
import string
from dataclasses import dataclass
from typing import Any, Final

from mirrord_agent import __version__

from mirrord.config.kubernetes import Agent
from mirrord.config.model import Settings
from mirrord.targets.kubernetes.choose import Chosen

CONTAINER: Final = "mirrord-agent"
LABELS: Final = {"app": "mirrord", "app.kubernetes.io/managed-by": "mirrord"}
_RANDOM: Final = range(30_000, 32_768, 2)
"""Ports that programs hardly use: below those that the kernel takes (ip_local_port_range, ip(7))."""
_REGISTRY: Final = "ghcr.io/mirrord/mirrord-agent"
_NOBODY: Final = 65534
_MESH_LABELS: Final = {"kuma.io/sidecar-injection": "disabled"}
_MESH_ANNOTATIONS: Final = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}
_INCOMING: Final = {"mirror": ("NET_RAW",), "steal": ("NET_ADMIN",), "off": ()}
_LETTERS: Final = string.ascii_lowercase + string.digits


def new_name() -> str:
    """Return a name for a Job."""
    return "mirrord-agent-" + "".join(secrets.choice(_LETTERS) for _ in range(10))


@dataclass(frozen=True, slots=True)
class Ports:
    """Where an agent listens: on the loopback of its pod, and, with TLS, on the pod's addresses."""

    loopback: int
    tls: int | None
    """None where the pod proxy is not used, and only the pod itself reaches the agent."""


def own_ports(*, proxy: bool) -> Ports:
    """Return those of an agent in a pod of its own."""
    return Ports(7737, 7738 if proxy else None)


def random_ports(*, proxy: bool) -> Ports:
    """Return those of an agent in the target's own network."""
    first = secrets.choice(_RANDOM)
    return Ports(first, first + 1 if proxy else None)


def capabilities(settings: Settings) -> tuple[str, ...]:
    """Return what a session needs in a container's namespaces; docs/security.md has the reasons.

    SYS_ADMIN joins its namespaces, which an ephemeral container is in; SYS_PTRACE opens ``/proc/PID/root``
    and reads ``/proc/PID/environ``. Files, ``/etc/resolv.conf`` and ``/etc/hosts`` always among them, are
    read as the user that the target runs as: SETUID and SETGID become it. DAC_OVERRIDE opens ``environ``,
    which belongs to that user, and keeps what a target may itself read as root. NET_RAW captures what is
    mirrored, NET_ADMIN redirects what is stolen.
    """
    agent = settings.configuration.agent
    joins = () if agent.ephemeral else ("SYS_ADMIN",)
    incoming = _INCOMING[settings.feature.network.incoming.mode]
    wanted = (*joins, "SYS_PTRACE", "SETUID", "SETGID", "DAC_OVERRIDE", *incoming)
    return tuple(name for name in wanted if name not in agent.disabled_capabilities)


def job(
    name: str, settings: Settings, target: Chosen | None, *, client_key: bytes, ports: Ports
) -> dict[str, Any]:
    """Return the Job for a container, or without a target."""
    agent = settings.configuration.agent
    mesh = agent.disable_mesh_sidecar_injection
    metadata = {
        "labels": LABELS | (_MESH_LABELS if mesh else {}) | agent.labels,
        "annotations": (_MESH_ANNOTATIONS if mesh else {}) | agent.annotations,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, **metadata},
        "spec": {
            "ttlSecondsAfterFinished": agent.ttl,
            "backoffLimit": 0,
            "template": {"metadata": metadata, "spec": _pod(settings, target, client_key, ports)},
        },
    }


def ephemeral_container(
    name: str, settings: Settings, target: Chosen, *, client_key: bytes, ports: Ports
) -> dict[str, Any]:
    """Return the ephemeral container for one of a pod's containers; resources are not for such ones."""
    container = _container(settings, target, client_key, ports)
    del container["resources"]
    return container | {"name": name, "targetContainerName": target.container}


def image(agent: Agent) -> str:
    """Return the agent's image."""
    return f"{agent.image.registry or _REGISTRY}:{agent.image.tag or __version__}"


def _pod(settings: Settings, target: Chosen | None, client_key: bytes, ports: Ports) -> dict[str, Any]:
    agent = settings.configuration.agent
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "tolerations": list(agent.tolerations),
        "containers": [_container(settings, target, client_key, ports)],
    }
    if target is not None:
        # the scheduler is not asked: the agent must be where the target is
        pod |= {"nodeName": target.node, "hostPID": True, "enableServiceLinks": False}
    elif agent.node_selector:
        pod["nodeSelector"] = agent.node_selector
    if agent.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret.name} for secret in agent.image_pull_secrets]
    if agent.service_account is not None:
        pod["serviceAccountName"] = agent.service_account
    if agent.priority_class is not None:
        pod["priorityClassName"] = agent.priority_class
    return pod


def _container(settings: Settings, target: Chosen | None, client_key: bytes, ports: Ports) -> dict[str, Any]:
    agent = settings.configuration.agent
    return {
        "name": CONTAINER,
        "image": image(agent),
        "imagePullPolicy": agent.image_pull_policy,
        "args": [
            f"--listen=tcp:127.0.0.1:{ports.loopback}",
            *([] if ports.tls is None else [f"--listen=tls:*:{ports.tls}"]),
            f"--client-key={client_key.hex()}",
            f"--patience={agent.communication_timeout}",
            "--targetless" if target is None else f"--container-id={target.id}",
        ],
        "resources": agent.resources,
        "securityContext": _harmless() if target is None else _entering(settings),
    }


def _entering(settings: Settings) -> dict[str, Any]:
    if settings.configuration.agent.privileged:
        return {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True}
    return {
        "runAsUser": 0,
        "runAsNonRoot": False,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": list(capabilities(settings))},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _harmless() -> dict[str, Any]:
    """Return what the policy ``restricted`` of Pod Security asks for."""
    return {
        "runAsNonRoot": True,
        "runAsUser": _NOBODY,
        "runAsGroup": _NOBODY,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
