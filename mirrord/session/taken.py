"""A process that is attached to, as its session has it: its calls, and the connection to its keeper."""

import socket
from dataclasses import dataclass
from typing import Self

from mirrord_seccomp.notify import Listener

from mirrord.errors import AttachError
from mirrord.session import doors
from mirrord.session.directory import SessionDirectory
from mirrord.tracer.ledger import Ledger


@dataclass(slots=True, eq=False)
class Taken:
    """One process that is served."""

    pid: int
    keeper: socket.socket
    listener: Listener
    ledger: Ledger

    @classmethod
    def over(cls, pid: int, keeper: socket.socket, directory: SessionDirectory) -> Self:
        """Take the process's calls over from its keeper; raise AttachError when another session has them."""
        listener, calls = handed_over(pid, keeper, directory)
        ledger = Ledger(calls)
        return cls(pid, keeper, ledger.listener(listener), ledger)


def connected(pid: int) -> socket.socket:
    """Return a connection to the keeper that a process must have; raise AttachError."""
    keeper = doors.connect(pid)
    if keeper is None:
        raise AttachError(f"process {pid} has ended meanwhile")
    return keeper


def handed_over(pid: int, keeper: socket.socket, directory: SessionDirectory) -> tuple[int, int]:
    """Return the descriptors of the listener and of the ledger; raise AttachError."""
    doors.send(keeper, doors.SERVE, directory.id, directory.path)
    words, fds = doors.receive(keeper, fds=2)
    match words, fds:
        case [doors.LISTENER], [listener, calls]:
            return listener, calls
        case [doors.HELD, int(session)], _:
            raise AttachError(
                f"process {pid} is attached to already, by the session of process {session}",
                remedy=f"end it first: mirrord detach {pid}",
            )
    raise AttachError(f"process {pid} has ended meanwhile")
