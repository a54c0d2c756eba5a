"""The sockets that a process has open already when it is attached to."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from mirrord.link.inodes import listening, udp_inodes
from mirrord.tracer.find import find_socket


@dataclass(frozen=True, slots=True)
class Opened:
    """One socket, as :class:`mirrord.link.located.Located` has it."""

    tid: int
    fd: int
    inode: int

    def duplicate(self) -> socket.socket | None:
        """Return a duplicate, None when the process has closed it meanwhile."""
        return find_socket(tid=self.tid, fd=self.fd, inode=self.inode, among=())


def opened(pid: int) -> Iterator[Opened]:
    """Give every socket of a process; nothing of one that has ended."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except FileNotFoundError:
        return
    for name in names:
        try:
            text = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            # closed meanwhile
            continue
        if text.startswith("socket:["):
            yield Opened(pid, int(name), int(text[8:-1]))


def listeners(pid: int) -> list[Opened]:
    """Return its listening TCP sockets."""
    inodes = listening().keys()
    return [one for one in opened(pid) if one.inode in inodes]


def datagram_sockets(pid: int) -> list[Opened]:
    """Return its UDP sockets that have a port."""
    inodes = udp_inodes()
    return [one for one in opened(pid) if one.inode in inodes]


def kernels_ports() -> range:
    """Return the ports that the kernel gives to who asks for none (ip(7), ip_local_port_range)."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", "rb") as stream:
        low, high = map(int, stream.read().split())
    return range(low, high + 1)
