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
