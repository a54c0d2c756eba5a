"""What is in every sandbox: addresses, names, environment; the promise that demo, tests and users rely on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import Final

HOSTNAME: Final = "sandbox-0"
DOMAIN: Final = "cluster.local"
NAMESPACE: Final = "default"
POD_PORT: Final = 8080

POD_UID: Final = 1000
"""The only user, and the only group, that exists in the sandbox: whoever made it."""


@dataclass(frozen=True, slots=True)
class Host:
    """The two addresses of one machine of the sandbox."""

    v4: IPv4Address
    v6: IPv6Address


POD: Final = Host(IPv4Address("10.244.0.2"), IPv6Address("fd00:10:244::2"))
CLUSTER: Final = Host(IPv4Address("10.244.0.1"), IPv6Address("fd00:10:244::1"))
DNS: Final = Host(IPv4Address("10.96.0.10"), IPv6Address("fd00:10:96::10"))
SERVICES: Final[Mapping[str, Host]] = MappingProxyType(
    {
        "echo": Host(IPv4Address("10.96.0.20"), IPv6Address("fd00:10:96::20")),
        "db": Host(IPv4Address("10.96.0.30"), IPv6Address("fd00:10:96::30")),
        "web": Host(IPv4Address("10.96.0.40"), IPv6Address("fd00:10:96::40")),
    }
)

RESOLV_CONF: Final = f"""\
search {NAMESPACE}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}
nameserver {DNS.v4}
options ndots:5
"""


@dataclass(frozen=True, slots=True)
class PodSpec:
    """What the maker of a sandbox chose: the pod's host name, variables and files by absolute path."""

    hostname: str = HOSTNAME
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the pod's main process."""
        return {
            "GREETING": "hello from the sandbox",
            "POD_NAME": self.hostname,
            "DATABASE_URL": f"postgres://db.{NAMESPACE}.svc.{DOMAIN}:5432/app",
            **self.env,
        }
