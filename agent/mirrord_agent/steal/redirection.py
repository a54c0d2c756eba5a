"""Which way of redirecting this kernel has."""

import errno
from typing import Final, Literal, Protocol

from mirrord_agent.errors import AgentError
from mirrord_agent.steal.iptables import Iptables
from mirrord_agent.steal.level import Level
from mirrord_agent.steal.nftables import Nftables

Method = Literal["nftables", "iptables-nft", "iptables-legacy"]
_NOT_THERE: Final = {
    # no NETLINK_NETFILTER, no nf_tables, no such expression or family, and no owner before Linux 5.12
    errno.EPROTONOSUPPORT,
    errno.EOPNOTSUPP,
    errno.ENOENT,
    errno.EAFNOSUPPORT,
    errno.EINVAL,
}


class Redirection(Protocol):
    """The redirected ports of one agent; methods raise OSError or AgentError."""

    @property
    def level(self) -> Level:
        """Our place among the agents of this pod."""
        ...

    def redirect(self, port: int, *, to: int) -> None:
        """Lead new connections to a port, of any address of this namespace, to another port."""
        ...

    def restore(self, port: int) -> None:
        """Let new connections to a port through again; those already led elsewhere go on."""
        ...

    def close(self) -> None:
        """Remove every trace: connections that were led elsewhere break."""
        ...


def open_redirection(
    *,
    loopback_only: bool = False,
    filtered: bool = False,
    method: Method | None = None,
    reserved: int | None = None,
) -> Redirection:
    """Return a redirection for the network namespace of the calling thread, by the best method or the given.

    ``loopback_only`` is for pods of a service mesh, whose sidecar passes plaintext on by the loopback device;
    ``filtered`` for who leaves a part of the connections to others, and so is asked before who does not.
    ``reserved`` is a descriptor opened before all others: what must be released last takes its place. Raises
    AgentError with a sentence.
    """
    if method in (None, "nftables"):
        try:
            return Nftables(loopback_only=loopback_only, filtered=filtered, reserved=reserved)
        except PermissionError:
            raise AgentError(
                "connections cannot be stolen: the agent may not change the target's network namespace; "
                "give it CAP_NET_ADMIN, or use mirror mode"
            ) from None
        except OSError as error:
            if method == "nftables" or error.errno not in _NOT_THERE:
                raise AgentError(f"nf_tables refused the rules for stealing: {error.strerror}") from None
    if method == "iptables-nft":
        return Iptables(loopback_only=loopback_only, filtered=filtered, variant="nft")
    if method == "iptables-legacy":
        return Iptables(loopback_only=loopback_only, filtered=filtered, variant="legacy")
    return Iptables(loopback_only=loopback_only, filtered=filtered)
