"""Find a socket of the program again, after its connect was started."""

import os
import socket
from collections.abc import Iterable

from mirrord.tracer.sys import pidfd_getfd, pidfd_open


def find_socket(*, tid: int, fd: int, inode: int, among: Iterable[int]) -> socket.socket | None:
    """Return a duplicate of the socket with that inode, None when no process has it any more.

    It is most likely still where it was. If not, the processes ``among`` which it may have been passed or
    inherited are searched.
    """
    found = _duplicate(tid, fd, inode)
    if found is not None:
        return found
    for process in among:
        for number in _descriptors(process, inode):
            found = _duplicate(process, number, inode)
            if found is not None:
                return found
    return None


def _duplicate(tid: int, fd: int, inode: int) -> socket.socket | None:
    try:
        pidfd = pidfd_open(tid)
    except OSError:
        # the thread has ended
        return None
    try:
        duplicate = pidfd_getfd(pidfd, fd)
    except OSError:
        return None
    finally:
        os.close(pidfd)
    if os.fstat(duplicate).st_ino != inode:
        os.close(duplicate)
        return None
    return socket.socket(fileno=duplicate)


def _descriptors(process: int, inode: int) -> list[int]:
    wanted = f"socket:[{inode}]"
    try:
        return [
            int(name)
            for name in os.listdir(f"/proc/{process}/fd")
            if os.readlink(f"/proc/{process}/fd/{name}") == wanted
        ]
    except OSError:
        # ended, or changed, while we looked; or not ours to look at
        return []
