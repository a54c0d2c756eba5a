"""Levels: how agents that steal from the same pod share its connections.

A new connection is offered to the highest level first. An agent that does not want it connects to the
original destination with its own mark, and that connection is offered to the levels below, so every agent
sees each connection once, and the application gets what nobody took. Who takes all connections to a port
would leave nothing to the levels below: such agents take the lowest levels, those with a filter the highest.

A level is held by a name in the namespace of abstract unix sockets, which belongs to the network namespace:
the kernel frees it when the last descriptor is closed, however its holder ends (unix(7)).
"""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterable
from typing import Final, NewType

from mirrord_agent.errors import AgentError

LevelNumber = NewType("LevelNumber", int)

_BY_IPTABLES: Final = 8
"""Levels below are for redirections by iptables: its chains all have one priority, after ours of nftables."""
_LEVELS: Final = 16
MARK: Final = 0x6D72_0000
"""The upper half of the marks of connections that an agent passed on; the lower has the bit of its level."""
MARK_MASK: Final = 0xFFFF_0000
_FIRST_PRIORITY: Final = -105
"""Just before NF_IP_PRI_NAT_DST (-100), where iptables and kube-proxy have their chains."""


class Level:
    """One level, held until :meth:`close`."""

    def __init__(self, number: LevelNumber, lock: socket.socket) -> None:
        self.number: Final = number
        self.lock: Final = lock

    @property
    def mark(self) -> int:
        """What connections that this level passed on are marked with (SO_MARK in socket(7))."""
        return MARK | 1 << self.number

    @property
    def passed_mask(self) -> int:
        """The bits of a mark that say that this level or a lower one has passed the connection on."""
        return (2 << self.number) - 1

    @property
    def priority(self) -> int:
        """The priority of the chains: lower numbers come first, so higher levels have them."""
        return _FIRST_PRIORITY - self.number

    def close(self) -> None:
        """Free the level."""
        self.lock.close()


def nftables_levels(*, filtered: bool = False) -> Iterable[LevelNumber]:
    """Return the numbers that a redirection by nftables may have, the first to try first."""
    return _in_order(range(_BY_IPTABLES, _LEVELS), filtered=filtered)


def iptables_levels(*, filtered: bool = False) -> Iterable[LevelNumber]:
    """Return the numbers that a redirection by iptables may have, the first to try first."""
    return _in_order(range(_BY_IPTABLES), filtered=filtered)


def _in_order(numbers: range, *, filtered: bool) -> Iterable[LevelNumber]:
    return map(LevelNumber, reversed(numbers) if filtered else numbers)


def take_level(numbers: Iterable[LevelNumber], use: Callable[[Level], None]) -> Level:
    """Take the first free level of this network namespace that ``use`` can use.

    Where ``use`` raises FileExistsError, the next one is tried; raise AgentError where all are taken.
    """
    for number in numbers:
        level = try_level(number)
        if level is None:
            continue
        try:
            use(level)
        except BaseException as error:
            level.close()
            if not isinstance(error, FileExistsError):
                raise
        else:
            return level
    raise AgentError(
        f"{_BY_IPTABLES} sessions already steal from this pod, which is the most; wait until one has ended"
    )


def try_level(number: LevelNumber) -> Level | None:
    """Take one level; return None if it is taken."""
    lock = _hold(f"mirrord-steal-{number}")
    return None if lock is None else Level(number, lock)


def take_whole(port: int) -> socket.socket:
    """Take the right to all connections to a port, until it is closed; raise AgentError if it is taken."""
    lock = _hold(f"mirrord-steal-all-of-{port}")
    if lock is None:
        raise AgentError(
            "another session steals all connections to it; wait until that has ended, "
            "or take only some of them, by an `http_filter`"
        )
    return lock


def _hold(name: str) -> socket.socket | None:
    """Hold a name; return None if somebody else does."""
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC))
        try:
            lock.bind(f"\0{name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return None
        stack.pop_all()
        return lock
