"""Whether this network namespace is a service mesh's.

There a sidecar takes what comes from other machines, encrypted, and passes plaintext on by the loopback
device: only there is anything to be stolen or mirrored.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mirrord_agent.errors import AgentError
from mirrord_agent.steal.iptables import MESH_CHAINS, Family

_SIDECARS: Final = {15006, 4143}
"""Where the sidecars of Istio and Kuma, and of Linkerd, take what comes in."""
_NETWORK: Final = Path("/proc/thread-self/net")
_LISTENS: Final = "0A"


def is_meshed() -> bool:
    """Return whether a mesh redirects this namespace; blocks while commands run, and changes nothing.

    Its iptables chains tell. Where they may not be seen, which takes CAP_NET_ADMIN, the port does at which a
    sidecar listens.
    """
    variants = ["nft", "legacy"] if _uses_legacy() else ["nft"]
    families = [Family(f"iptables-{variant}") for variant in variants]
    seen = [_has_chains(family) for family in families if shutil.which(family.command)]
    told = [answer for answer in seen if answer is not None]
    return any(told) if told else not _SIDECARS.isdisjoint(_listening())


def _uses_legacy() -> bool:
    """Return whether the older kind of tables is in use: only to list one begins to track connections."""
    try:
        return "nat" in (_NETWORK / "ip_tables_names").read_text().split()
    except FileNotFoundError:
        # not loaded
        return False
    except PermissionError:
        # not told to the root of a user namespace
        return True


def _has_chains(family: Family) -> bool | None:
    """Return whether a variant has a mesh's chains; None where that cannot be seen."""
    try:
        return MESH_CHAINS.search(family.list()) is not None
    except AgentError:
        return None


def _listening() -> Iterator[int]:
    """Give the ports that something listens at (proc_net_tcp.rst)."""
    for table in ("tcp", "tcp6"):
        try:
            lines = (_NETWORK / table).read_text().splitlines()[1:]
        except FileNotFoundError:
            # a kernel without IPv6
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENS:
                yield int(fields[1].rpartition(":")[2], 16)
