"""Put a descriptor of ours into a program that is traced.

The thread that asked for it fetches it itself: in place of its call it makes a socket, receives our
descriptor over it (SCM_RIGHTS, unix(7)), and moves that to the socket's number, which was the lowest free
one. We send through a duplicate of that very socket, to its own address, so it works in any namespace, for
any user and for every kind of file.
"""

import array
import errno
import os
import socket
import struct
from typing import Final

from mirrord_seccomp.syscalls import current_arch, number

from mirrord.tracer.inject import Borrowed
from mirrord.tracer.sys import pidfd_getfd, pidfd_open, process_vm_write

_PAGE: Final = 4096
_PROT: Final = 0x3
"""PROT_READ | PROT_WRITE."""
_MAP: Final = 0x22
"""MAP_PRIVATE | MAP_ANONYMOUS."""
_MSG_CMSG_CLOEXEC: Final = 0x40000000
_MESSAGE: Final = struct.Struct("=QI4xQQQQI4x")
"""``struct msghdr``: name and its length, parts and their number, control data and its length, flags."""
_PART: Final = struct.Struct("=QQ")
_RIGHTS: Final = struct.Struct("=QIIi4x")
"""``struct cmsghdr`` with one descriptor."""
_AT_PART: Final = _MESSAGE.size
_AT_BYTE: Final = _AT_PART + _PART.size
_AT_RIGHTS: Final = _AT_BYTE + 8
_UNTOUCHED: Final = -1


def _number(name: str) -> int:
    found = number(name, current_arch())
    assert found is not None, name
    return found


_MMAP, _SOCKET, _RECVMSG, _DUP3, _CLOSE = map(_number, ("mmap", "socket", "recvmsg", "dup3", "close"))


class Giver:
    """Gives descriptors to threads; each has a page of its own to receive in, mapped when first needed."""

    def __init__(self) -> None:
        self._pages: Final[dict[int, int]] = {}

    def forget(self, tid: int) -> None:
        """Take note that a thread has ended, or executed another program: its page is gone."""
        self._pages.pop(tid, None)

    def give(self, thread: Borrowed, fd: int, *, cloexec: bool) -> int:
        """Return the number that a duplicate of our ``fd`` now has in the thread; raise OSError or Died."""
        page = self.page(thread)
        at = _must(thread.call(_SOCKET, socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0))
        try:
            _send(thread.tid, at, fd)
            received = _receive(thread, page, at)
        except OSError:
            thread.call(_CLOSE, at)
            raise
        thread.call(_DUP3, received, at, os.O_CLOEXEC if cloexec else 0)
        thread.call(_CLOSE, received)
        return at

    def known_page(self, tid: int) -> int | None:
        """Return the address of a thread's page, if it has one."""
        return self._pages.get(tid)

    def page(self, thread: Borrowed) -> int:
        """Return the address of the thread's page; raise OSError or Died."""
        page = self._pages.get(thread.tid)
        if page is None:
            page = _must(thread.call(_MMAP, 0, _PAGE, _PROT, _MAP, -1, 0))
            self._pages[thread.tid] = page
        return page


def _send(tid: int, at: int, fd: int) -> None:
    pidfd = pidfd_open(tid)
    try:
        duplicate = pidfd_getfd(pidfd, at)
    finally:
        os.close(pidfd)
    with socket.socket(fileno=duplicate) as sock:
        # the kernel chooses an abstract address (unix(7), autobind)
        sock.bind("")
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
        sock.sendmsg([b"."], [rights], 0, sock.getsockname())


def _receive(thread: Borrowed, page: int, at: int) -> int:
    message = _MESSAGE.pack(0, 0, page + _AT_PART, 1, page + _AT_RIGHTS, _RIGHTS.size, 0)
    part = _PART.pack(page + _AT_BYTE, 1)
    process_vm_write(thread.tid, page, message + part + bytes(8) + _RIGHTS.pack(0, 0, 0, _UNTOUCHED))
    _must(thread.call(_RECVMSG, at, page, socket.MSG_DONTWAIT | _MSG_CMSG_CLOEXEC))
    with open(f"/proc/{thread.tid}/mem", "rb", buffering=0) as memory:
        *_, received = _RIGHTS.unpack(os.pread(memory.fileno(), _RIGHTS.size, page + _AT_RIGHTS))
    if received == _UNTOUCHED:
        # the message came without its descriptor: no number was left for it (MSG_CTRUNC)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return int(received)


def _must(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
