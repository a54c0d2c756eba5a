"""The sandbox's two networks: the pod's, with one interface, and the cluster's, with the addresses of all
services.
"""

import os
import socket
from typing import Final

from mirrord.targets.sandbox.contract import CLUSTER, DNS, POD, SERVICES, Host
from mirrord.targets.sandbox.netlink import End, Route

# addresses of the locally administered kind (IEEE 802): the link has no others
_POD: Final = End("eth0", b"\x02\0\0\0\0\x02")
_CLUSTER: Final = End("pod0", b"\x02\0\0\0\0\x01")
BACKLOG: Final = 16384


def _has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return os.path.exists("/proc/net/if_inet6")


has_ipv6: Final = _has_ipv6()
"""False where the kernel was told to do without: the sandbox then has no IPv6 either."""


def configure_pod(cluster_namespace: int) -> None:
    """Set up the current network namespace as the pod's, linked to the cluster's."""
    with Route() as route:
        route.add_veth(_POD, peer=_CLUSTER, peer_namespace=cluster_namespace)
        route.set_up("lo")
        _configure(route, _POD, POD, peer=_CLUSTER, peer_host=CLUSTER)
        route.add_default_route(_POD.name, CLUSTER.v4)
        if has_ipv6:
            route.add_default_route(_POD.name, CLUSTER.v6)


def configure_cluster() -> None:
    """Set up the current network namespace as the cluster's; the link to the pod exists."""
    with Route() as route:
        route.set_up("lo")
        _configure(route, _CLUSTER, CLUSTER, peer=_POD, peer_host=POD)
        for host in (DNS, *SERVICES.values()):
            route.add_address("lo", host.v4, prefix=32)
            if has_ipv6:
                route.add_address("lo", host.v6, prefix=128)


def _configure(route: Route, end: End, host: Host, *, peer: End, peer_host: Host) -> None:
    """Bring one end of the link up.

    A question for a neighbour that comes before the other end is ready is lost, and repeated after a second
    (RFC 4861, RETRANS_TIMER). So both know each other from the start.
    """
    route.add_address(end.name, host.v4, prefix=24)
    if has_ipv6:
        route.add_address(end.name, host.v6, prefix=64)
    route.set_up(end.name)
    route.add_neighbour(end.name, peer_host.v4, peer.address)
    if has_ipv6:
        route.add_neighbour(end.name, peer_host.v6, peer.address)


def tune(*, forward: bool) -> None:
    """Let anybody in this network listen on low ports, and listeners have long queues.

    A cluster side that forwards, and knows no way to the world, answers at once that there is none; it would
    be silent otherwise.
    """
    settings = {"net/ipv4/ip_unprivileged_port_start": "0", "net/core/somaxconn": str(BACKLOG)}
    if forward:
        settings["net/ipv4/ip_forward"] = "1"
        if has_ipv6:
            settings["net/ipv6/conf/all/forwarding"] = "1"
    for name, value in settings.items():
        with open(f"/proc/sys/{name}", "w") as file:
            file.write(value)
