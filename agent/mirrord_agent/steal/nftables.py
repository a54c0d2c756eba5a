"""Redirection by one nftables table, owned by our netlink socket: the kernel removes it when we end.

The table is seen by ``nft list ruleset``; nobody else can change it (NFT_TABLE_F_OWNER, Linux 5.12).
"""

import socket
import struct
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Network
from typing import Final

from mirrord_agent.steal.expressions import (
    Compare,
    Meta,
    compare,
    connection_state,
    destination_type,
    leave,
    mask,
    meta,
    network,
    redirect,
    transport,
)
from mirrord_agent.steal.level import MARK, MARK_MASK, Level, nftables_levels, take_level
from mirrord_agent.steal.netfilter import Do, Flag, Message, Netfilter, nested, number, text

_OWNER: Final = 2
"""NFT_TABLE_F_OWNER"""
_PREROUTING, _OUTPUT = 0, 3
"""NF_INET_PRE_ROUTING and NF_INET_LOCAL_OUT."""
_RTN_LOCAL: Final = 2
_LINK_LOCAL: Final = IPv6Network("fe80::/10")
_FIN_SYN_RST_ACK, _SYN = 0x17, 0x02
_STATE_NEW: Final = 1 << 3
"""The bit of NF_CT_STATE_BIT for IP_CT_NEW."""
_MARK: Final = struct.Struct("=I")


class Nftables:
    """The redirected ports of one agent; every method raises OSError."""

    def __init__(
        self, *, loopback_only: bool = False, filtered: bool = False, reserved: int | None = None
    ) -> None:
        """Make the table; ``loopback_only`` leaves alone what comes from other machines, as in a mesh.

        ``filtered`` asks for a level above those who take everything. ``reserved`` is a descriptor whose
        place the table's socket takes.
        """
        # Its number is below those of all listeners and connections. When a process ends, the kernel releases
        # its files the highest number first (`close_files` queues them, `task_work_run` turns the order):
        # clients of stolen connections and of those not accepted yet are told, which only works while their
        # addresses are translated; then the table goes. A connect in the milliseconds between is refused; the
        # other way round clients hang.
        self._netfilter: Final = Netfilter(reserved=reserved)
        self._chains: Final = {"output": _OUTPUT} | ({} if loopback_only else {"prerouting": _PREROUTING})
        self._ports: dict[int, int] = {}
        try:
            # nothing to do, but refused without CAP_NET_ADMIN: later that also means that a name is taken
            self._netfilter.commit([])
            self.level: Final[Level] = take_level(nftables_levels(filtered=filtered), self._make)
        except BaseException:
            self._netfilter.close()
            raise

    def redirect(self, port: int, *, to: int) -> None:
        """Lead new connections to a port, of any address of this namespace, to another port."""
        self._change({**self._ports, port: to})

    def restore(self, port: int) -> None:
        """Let new connections to a port through again; those already led elsewhere go on."""
        self._change({known: to for known, to in self._ports.items() if known != port})

    def close(self) -> None:
        """Remove the table: connections that were led elsewhere break."""
        self._netfilter.close()
        self.level.close()

    def _make(self, level: Level) -> None:
        """Make the table of a level; raise FileExistsError where somebody else has one of that name."""
        new_table = Message(
            Do.NEW_TABLE, Flag.CREATE | Flag.EXCLUSIVE, text(1, _name(level)) + number(2, _OWNER)
        )
        try:
            self._netfilter.commit([new_table, *self._new_chains(level), *self._rules(level, self._ports)])
        except PermissionError:
            # it is owned by another socket, which the kernel looks at first
            raise FileExistsError from None

    def _change(self, ports: Mapping[int, int]) -> None:
        old = [Message(Do.DELETE_RULE, 0, _where(self.level, chain)) for chain in self._chains]
        self._netfilter.commit([*old, *self._rules(self.level, ports)])
        self._ports = dict(ports)

    def _new_chains(self, level: Level) -> Iterable[Message]:
        for chain, hook in self._chains.items():
            place = nested(4, number(1, hook), number(2, level.priority))
            what = text(1, _name(level)) + text(3, chain) + place + text(7, "nat")
            yield Message(Do.NEW_CHAIN, Flag.CREATE, what)

    def _rules(self, level: Level, ports: Mapping[int, int]) -> Iterable[Message]:
        """Give the rules of both chains; all look at a connection's first packet only, as ``nat`` does."""
        rules = [
            _leave_what_was_passed_on(level),
            _leave_link_local(),
            *(_redirect(port, to) for port, to in ports.items()),
            _track(),
        ]
        for chain in self._chains:
            for rule in rules:
                yield Message(Do.NEW_RULE, Flag.CREATE | Flag.APPEND, _where(level, chain) + nested(4, rule))


def _name(level: Level) -> str:
    return f"mirrord-{level.number}"


def _where(level: Level, chain: str) -> bytes:
    return text(1, _name(level)) + text(2, chain)


def _leave_what_was_passed_on(level: Level) -> bytes:
    return (
        meta(Meta.MARK)
        + mask(_MARK.pack(MARK_MASK))
        + compare(Compare.EQUAL, _MARK.pack(MARK))
        + meta(Meta.MARK)
        + mask(_MARK.pack(level.passed_mask))
        + compare(Compare.NOT_EQUAL, _MARK.pack(0))
        + leave()
    )


def _leave_link_local() -> bytes:
    """Let go what is meant for a link-local address.

    Its scope is lost on the way to us; and in ``output`` it would be led to ``::1``, from where no answer
    finds back.
    """
    return (
        meta(Meta.NFPROTO)
        + compare(Compare.EQUAL, bytes((socket.AF_INET6,)))
        + network(24, 16)
        + mask(_LINK_LOCAL.netmask.packed)
        + compare(Compare.EQUAL, _LINK_LOCAL.network_address.packed)
        + leave()
    )


def _redirect(port: int, to: int) -> bytes:
    """Only a SYN: tracking may begin in the middle of a connection, whose next packet then counts as new.

    Only to our own addresses: in ``output`` there are also the pod's requests to that port of others.
    """
    return (
        destination_type()
        + compare(Compare.EQUAL, _MARK.pack(_RTN_LOCAL))
        + meta(Meta.L4PROTO)
        + compare(Compare.EQUAL, bytes((socket.IPPROTO_TCP,)))
        + transport(2, 2)
        + compare(Compare.EQUAL, struct.pack("!H", port))
        + transport(13, 1)
        + mask(bytes((_FIN_SYN_RST_ACK,)))
        + compare(Compare.EQUAL, bytes((_SYN,)))
        + redirect(to)
    )


def _track() -> bytes:
    """Keep connections tracked while the table is there: without, those already led elsewhere would break."""
    return connection_state() + mask(_MARK.pack(_STATE_NEW)) + compare(Compare.NOT_EQUAL, _MARK.pack(0))
