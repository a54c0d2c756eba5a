"""Get a duplicate of a traced program's descriptor where pidfd_getfd(2) is forbidden, as in many containers.

The thread sends it to us, in place of its call: the way of ``give.py`` in the other direction.
"""

import array
import errno
import os
import socket
import struct
from typing import Final

from mirrord_seccomp.syscalls import current_arch, number

from mirrord.syscall import Elsewhere
from mirrord.tracer.borrowed import Borrowed
from mirrord.tracer.message import AT_BYTE, AT_NAME, AT_PART, AT_RIGHTS, MESSAGE, PART, RIGHTS, must, sockaddr
from mirrord.tracer.sys import process_vm_write, thread_group

_CREDENTIALS: Final = struct.Struct("=iII")
"""``struct ucred`` (unix(7))."""


def _number(name: str) -> int:
    found = number(name, current_arch())
    assert found is not None, name
    return found


_SOCKET, _SENDMSG, _CLOSE = map(_number, ("socket", "sendmsg", "close"))


class Taker:
    """A socket of ours to which threads of the program send their descriptors."""

    def __init__(self) -> None:
        self._sock: Final = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        # the kernel chooses an abstract address (unix(7), autobind)
        self._sock.bind("")
        self._name: Final = sockaddr(self._sock.getsockname())

    def close(self) -> None:
        """Take no more."""
        self._sock.close()

    def take(self, thread: Borrowed, page: int, fd: int) -> int:
        """Return a duplicate of the thread's descriptor; raise OSError EBADF, Elsewhere or Died."""
        at = must(thread.call(_SOCKET, socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0))
        message = MESSAGE.pack(
            page + AT_NAME, len(self._name), page + AT_PART, 1, page + AT_RIGHTS, RIGHTS.size, 0
        )
        rights = RIGHTS.pack(RIGHTS.size - 4, socket.SOL_SOCKET, socket.SCM_RIGHTS, fd)
        parts = message + PART.pack(page + AT_BYTE, 1) + bytes(8) + rights + self._name
        try:
            process_vm_write(thread.tid, page, parts)
        except PermissionError as error:
            thread.call(_CLOSE, at)
            raise Elsewhere("its memory may not be written (setuid, or not dumpable)") from error
        sent = thread.call(_SENDMSG, at, page, socket.MSG_DONTWAIT)
        thread.call(_CLOSE, at)
        if sent == -errno.ECONNREFUSED:
            raise Elsewhere("its descriptors may not be looked at")
        must(sent)
        return self._received(thread_group(thread.tid))

    def _received(self, process: int) -> int:
        """Return what that process has sent: others could have found the address, too."""
        room = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(_CREDENTIALS.size)
        while True:
            _, control, _, _ = self._sock.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
            sender, fds = 0, array.array("i")
            for _, kind, data in control:
                if kind == socket.SCM_RIGHTS:
                    fds.frombytes(data)
                elif kind == socket.SCM_CREDENTIALS:
                    sender, _, _ = _CREDENTIALS.unpack(data)
            if sender == process and len(fds) == 1:
                return fds[0]
            for fd in fds:
                os.close(fd)
