"""Start keepers, and give them orders; what keepers then do is in ``keeping.py``."""

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import NoReturn

from mirrord_seccomp.rules import Rule

from mirrord.errors import AttachError
from mirrord.session import doors
from mirrord.session.directory import SessionDirectory
from mirrord.session.doors import receive, send
from mirrord.session.keeping import CLEAN, Keeper


def spawn() -> socket.socket:
    """Start a keeper that has nothing to keep yet; return the channel for :func:`order`.

    It is nobody's child, and ends when the channel is closed before it has a process.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            ours.close()
            _become_keeper(theirs)
        os._exit(0)
    theirs.close()
    os.waitpid(child, 0)
    return ours


def order(
    orders: socket.socket, pid: int, filter_: bytes, traps: Mapping[int, Sequence[Rule]]
) -> tuple[int, float]:
    """Have a keeper attach to a process; return how many threads it has and for how many seconds they were
    stopped. ``traps`` is what the filter traps, by number. Raises AttachError.
    """
    send(orders, pid, filter_.hex(), doors.encode(traps))
    match receive(orders)[0]:
        case [int(threads), float(seconds)]:
            return threads, seconds
        case [str(problem), str(remedy)]:
            raise AttachError(problem, remedy=remedy)
    raise AttachError(f"the keeper of process {pid} was killed while it attached")


def order_to_clean(orders: socket.socket, directory: SessionDirectory) -> None:
    """Have a keeper that keeps nothing wait until ``orders`` is closed, which is the end of a session, and
    remove what that leaves if it is killed.
    """
    send(orders, CLEAN, directory.id, directory.path)


def become_daemon() -> None:
    """Let go of the terminal, of the current directory and of what signals ask for."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.chdir("/")


def _become_keeper(orders: socket.socket) -> NoReturn:
    become_daemon()
    fd = os.dup(orders.detach())
    os.dup2(fd, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    try:
        Keeper(socket.socket(fileno=3)).serve()
    finally:
        os._exit(0)
