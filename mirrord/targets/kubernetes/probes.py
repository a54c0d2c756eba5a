"""The ports that a kubelet's probes ask: whoever steals one answers for the pod's health."""

from collections.abc import Iterator
from typing import Final

from mirrord.targets.kubernetes.objects import Container, Pod, Probe

_KINDS: Final = ("startup", "liveness", "readiness")


def probed_ports(pod: Pod) -> dict[int, str]:
    """Return the probes of each port that one asks over the network, as people call them.

    Those of every container, as all share the network; of the init containers only sidecars have any
    (https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/).
    """
    found: dict[int, list[str]] = {}
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        for port, kind in _probes(container):
            found.setdefault(port, []).append(f"the {kind} probe of {container.name}")
    return {port: " and ".join(probes) for port, probes in found.items()}


def _probes(container: Container) -> Iterator[tuple[int, str]]:
    probes = (container.startup_probe, container.liveness_probe, container.readiness_probe)
    for kind, probe in zip(_KINDS, probes, strict=True):
        if probe is not None and (port := _port(container, probe)):
            yield port, kind


def _port(container: Container, probe: Probe) -> int:
    """Return the port that a probe asks, 0 where that is none of the pod's."""
    handler = probe.http_get or probe.tcp_socket or probe.grpc
    if handler is None or handler.host:
        return 0
    if isinstance(handler.port, int):
        return handler.port
    named = (port.container_port for port in container.ports if port.name == handler.port)
    return next(named, 0)
