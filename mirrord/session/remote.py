"""What a session asks of the target before the program starts, in one round trip."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from mirrord_agent.wire.channel import ChannelClosed, RequestFailed
from mirrord_agent.wire.messages import Environment, GetEnvironment, GetHostname, Hostname

from mirrord.errors import LinkError, TargetError
from mirrord.link.client import Link


@dataclass(frozen=True, slots=True)
class Remote:
    """The target's identity."""

    environment: dict[bytes, bytes]
    hostname: bytes
    addresses: dict[socket.AddressFamily, str]
    probes: Mapping[int, str] = field(default_factory=dict)
    """As :class:`mirrord.targets.base.Target` has it."""

    @classmethod
    async def ask(cls, link: Link, *, probes: Mapping[int, str]) -> Self:
        """Ask the agent, and add what the target knows by itself; raise LinkError or TargetError."""
        try:
            environment, hostname = await asyncio.gather(
                link.channel.request(GetEnvironment(), Environment),
                link.channel.request(GetHostname(), Hostname),
            )
        except ChannelClosed as closed:
            raise LinkError(f"the agent is gone: {closed}") from closed
        except RequestFailed as failure:
            raise TargetError(f"the target cannot be looked at: {failure}") from failure
        return cls(dict(environment.variables), hostname.name, _by_family(link.welcome.addresses), probes)


def _by_family(addresses: list[str] | tuple[str, ...]) -> dict[socket.AddressFamily, str]:
    found: dict[socket.AddressFamily, str] = {}
    for address in addresses:
        found.setdefault(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return found
