"""Which of this network namespace's sockets exist, and in what state: asked of the kernel by sock_diag(7).

Facts: a dump of listening sockets looks at these alone, 13 µs here. The text of ``/proc/net/tcp`` goes
through all buckets of the connection table, whose size follows the machine's memory: 2.7 ms with 24 GiB,
however few connections there are. So the text is read only where the kernel has no sock_diag.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_HEADER: Final = struct.Struct("=IHHII")
"""``struct nlmsghdr``: length, type, flags, sequence, port."""
_REQUEST: Final = struct.Struct("=BBBxI2s46x")
"""``struct inet_diag_req_v2``: family, protocol, extensions, states, local port, the rest of the address."""
_ANSWER: Final = struct.Struct("=BBxx2s54x8xI")
"""``struct inet_diag_msg``: family, state, local port, …, inode."""
_ERROR: Final = struct.Struct("=i")
_ROOM: Final = 1 << 16

_SYN_SENT: Final = 2
_LISTEN: Final = 10
_ALL_STATES: Final = 0xFFFFFFFF
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_TABLES: Final = {socket.IPPROTO_TCP: ("tcp", "tcp6"), socket.IPPROTO_UDP: ("udp", "udp6")}


class Row(NamedTuple):
    """One socket."""

    state: int
    port: int
    """Its local port."""
    inode: int


def tcp_inodes(*, in_syn_sent: bool = False) -> set[int]:
    """Return the inodes of all TCP sockets, or of those whose connect is pending."""
    states = 1 << _SYN_SENT if in_syn_sent else _ALL_STATES
    return {row.inode for row in _rows(socket.IPPROTO_TCP, states)}


def listening(*, port: int = 0) -> dict[int, int]:
    """Return the port of each listening TCP socket, or of those at one port, by inode."""
    return {row.inode: row.port for row in _rows(socket.IPPROTO_TCP, 1 << _LISTEN, port)}


def udp_inodes(*, port: int = 0) -> set[int]:
    """Return the inodes of the UDP sockets that are bound, to any port or to this one."""
    return {row.inode for row in _rows(socket.IPPROTO_UDP, _ALL_STATES, port)}


def has_sock_diag() -> bool:
    """Tell whether this kernel answers, so that the text need not be read."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    try:
        with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as diag:
            list(_dump(diag, socket.AF_INET, socket.IPPROTO_TCP, 1 << _LISTEN, 0))
    except OSError:
        return False
    return True


def _rows(protocol: int, states: int, port: int = 0) -> list[Row]:
    try:
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
        ) as diag:
            return [row for family in _FAMILIES for row in _dump(diag, family, protocol, states, port)]
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EACCES, errno.EPERM):
            raise
    found = (row for table in _TABLES[protocol] for row in _text(table))
    return [row for row in found if states >> row.state & 1 and port in (0, row.port)]


def _dump(diag: socket.socket, family: int, protocol: int, states: int, port: int) -> Iterator[Row]:
    request = _REQUEST.pack(family, protocol, 0, states, port.to_bytes(2, "big"))
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 0, 0)
    diag.send(header + request)
    while True:
        data = diag.recv(_ROOM)
        at = 0
        while at < len(data):
            length, kind, *_ = _HEADER.unpack_from(data, at)
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                (number,) = _ERROR.unpack_from(data, at + _HEADER.size)
                raise OSError(-number, os.strerror(-number))
            _, state, local, inode = _ANSWER.unpack_from(data, at + _HEADER.size)
            yield Row(state, int.from_bytes(local, "big"), inode)
            at += length + 3 & ~3


def _text(table: str) -> Iterator[Row]:
    """Read ``/proc/net`` (proc_pid_net(5))."""
    try:
        with open(f"/proc/self/net/{table}", "rb") as lines:
            next(lines)
            for line in lines:
                fields = line.split()
                yield Row(int(fields[3], 16), int(fields[1].rpartition(b":")[2], 16), int(fields[9]))
    except FileNotFoundError:
        # a kernel without IPv6 has no such table
        return
