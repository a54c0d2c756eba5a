"""Put a descriptor of ours into a program that is traced.

The thread that asked for it fetches it itself: in place of its call it makes a socket, receives our
descriptor over it (SCM_RIGHTS, unix(7)), and moves that to the socket's number, which was the lowest free
one. We send through a duplicate of that very socket, to its own address, so it works in any namespace, for
any user and for every kind of file.
"""

import array
import errno
import os
import resource
import secrets
import socket
from contextlib import suppress
from typing import Final

from mirrord_seccomp.syscalls import current_arch, number

from mirrord.tracer.borrowed import Borrowed
from mirrord.tracer.message import AT_BYTE, AT_NAME, AT_PART, AT_RIGHTS, MESSAGE, PART, RIGHTS, must, sockaddr
from mirrord.tracer.sys import pidfd_getfd, pidfd_open, process_vm_write

_PAGE: Final = 4096
_PROT: Final = 0x3
"""PROT_READ | PROT_WRITE."""
_MAP: Final = 0x22
"""MAP_PRIVATE | MAP_ANONYMOUS."""
_MSG_CMSG_CLOEXEC: Final = 0x40000000
_UNTOUCHED: Final = -1


def _number(name: str) -> int:
    found = number(name, current_arch())
    assert found is not None, name
    return found


_MMAP, _SOCKET, _BIND = map(_number, ("mmap", "socket", "bind"))
_RECVMSG, _DUP3, _CLOSE = map(_number, ("recvmsg", "dup3", "close"))


class Giver:
    """Gives descriptors to threads; each has a page of its own to receive in, mapped when first needed."""

    def __init__(self, *, by_name: bool = False) -> None:
        """``by_name`` has the thread give its socket a name, where we may not have a duplicate of it."""
        self._by_name: Final = by_name
        self._pages: Final[dict[int, int]] = {}

    def forget(self, tid: int) -> None:
        """Take note that a thread has ended, or executed another program: its page is gone."""
        self._pages.pop(tid, None)

    def give(self, thread: Borrowed, fd: int, *, cloexec: bool) -> int:
        """Return the number that a duplicate of our ``fd`` now has in the thread; raise OSError or Died."""
        page = self.page(thread)
        at = must(thread.call(_SOCKET, socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0))
        try:
            received = self._receive_one(thread, page, at, fd)
        except OSError:
            thread.call(_CLOSE, at)
            raise
        thread.call(_DUP3, received, at, os.O_CLOEXEC if cloexec else 0)
        thread.call(_CLOSE, received)
        return at

    def _receive_one(self, thread: Borrowed, page: int, at: int, fd: int) -> int:
        """Return the number that our descriptor has been received as; where the socket has taken the last
        one, the limit is one higher for that moment, as far as the thread's user may raise it.
        """
        try:
            self._send(thread, page, at, fd)
            return _receive(thread, page, at)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
        try:
            soft, hard = resource.prlimit(thread.tid, resource.RLIMIT_NOFILE)
            resource.prlimit(thread.tid, resource.RLIMIT_NOFILE, (soft + 1, max(soft + 1, hard)))
        except (PermissionError, ValueError) as refused:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from refused
        try:
            self._send(thread, page, at, fd)
            return _receive(thread, page, at)
        finally:
            # one that was killed meanwhile has no limit any more
            with suppress(ProcessLookupError):
                resource.prlimit(thread.tid, resource.RLIMIT_NOFILE, (soft, hard))

    def _send(self, thread: Borrowed, page: int, at: int, fd: int) -> None:
        if self._by_name:
            _send_by_name(thread, page, at, fd)
        else:
            _send(thread.tid, at, fd)

    def known_page(self, tid: int) -> int | None:
        """Return the address of a thread's page, if it has one."""
        return self._pages.get(tid)

    def page(self, thread: Borrowed) -> int:
        """Return the address of the thread's page; raise OSError or Died."""
        page = self._pages.get(thread.tid)
        if page is None:
            page = must(thread.call(_MMAP, 0, _PAGE, _PROT, _MAP, -1, 0))
            self._pages[thread.tid] = page
        return page


def _send(tid: int, at: int, fd: int) -> None:
    pidfd = pidfd_open(tid)
    try:
        duplicate = pidfd_getfd(pidfd, at)
    finally:
        os.close(pidfd)
    with socket.socket(fileno=duplicate) as sock:
        # the kernel chooses an abstract address (unix(7), autobind): everybody may see it, and send to it
        # until the socket is connected, then only who that is (unix_may_send(), net/unix/af_unix.c)
        sock.bind("")
        sock.connect(sock.getsockname())
        _drain(sock)
        _send_to(sock, sock.getsockname(), fd)


def _drain(sock: socket.socket) -> None:
    """Take what somebody else was quick enough to send; the kernel closes the descriptors in it."""
    with suppress(BlockingIOError):
        while True:
            sock.recv(1, socket.MSG_DONTWAIT)


def _send_by_name(thread: Borrowed, page: int, at: int, fd: int) -> None:
    name = b"\0mirrord-" + secrets.token_hex(16).encode()
    address = sockaddr(name)
    process_vm_write(thread.tid, page + AT_NAME, address)
    must(thread.call(_BIND, at, page + AT_NAME, len(address)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        _send_to(sock, name, fd)


def _send_to(sock: socket.socket, name: bytes, fd: int) -> None:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
    sock.sendmsg([b"."], [rights], socket.MSG_DONTWAIT, name)


def _receive(thread: Borrowed, page: int, at: int) -> int:
    message = MESSAGE.pack(0, 0, page + AT_PART, 1, page + AT_RIGHTS, RIGHTS.size, 0)
    part = PART.pack(page + AT_BYTE, 1)
    process_vm_write(thread.tid, page, message + part + bytes(8) + RIGHTS.pack(0, 0, 0, _UNTOUCHED))
    must(thread.call(_RECVMSG, at, page, socket.MSG_DONTWAIT | _MSG_CMSG_CLOEXEC))
    with open(f"/proc/{thread.tid}/mem", "rb", buffering=0) as memory:
        *_, received = RIGHTS.unpack(os.pread(memory.fileno(), RIGHTS.size, page + AT_RIGHTS))
    if received == _UNTOUCHED:
        # the message came without its descriptor: no number was left for it (MSG_CTRUNC)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return int(received)
