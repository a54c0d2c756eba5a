"""Which of this network namespace's sockets still exist, from ``/proc/net`` (proc_pid_net(5))."""

from collections.abc import Iterator
from typing import Final

_STATE: Final = 3
_INODE: Final = 9
_SYN_SENT: Final = b"02"
_LISTEN: Final = b"0A"


def _each_row(table: str) -> Iterator[list[bytes]]:
    try:
        with open(f"/proc/self/net/{table}", "rb") as lines:
            next(lines)
            for line in lines:
                yield line.split(maxsplit=_INODE + 1)
    except FileNotFoundError:
        # a kernel without IPv6 has no such table
        return


def _rows(table: str) -> list[list[bytes]]:
    return list(_each_row(table))


def tcp_inodes(*, in_syn_sent: bool = False) -> set[int]:
    """Return the inodes of all TCP sockets, or of those whose connect is pending."""
    return {
        int(row[_INODE])
        for table in ("tcp", "tcp6")
        for row in _rows(table)
        if not in_syn_sent or row[_STATE] == _SYN_SENT
    }


def listening() -> dict[int, int]:
    """Return the port of each listening TCP socket by inode.

    Listening sockets come first in these tables (tcp_get_idx, net/ipv4/tcp_ipv4.c), so that no other is read,
    however many there are.
    """
    found: dict[int, int] = {}
    for table in ("tcp", "tcp6"):
        for row in _each_row(table):
            if row[_STATE] != _LISTEN:
                break
            found[int(row[_INODE])] = _port(row)
    return found


def udp_inodes(*, port: int | None = None) -> set[int]:
    """Return the inodes of the UDP sockets that are bound, to any port or to this one."""
    return {
        int(row[_INODE])
        for table in ("udp", "udp6")
        for row in _rows(table)
        if port is None or _port(row) == port
    }


def _port(row: list[bytes]) -> int:
    return int(row[1].rpartition(b":")[2], 16)
