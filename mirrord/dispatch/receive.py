"""The outgoing plane, datagrams that are received: each with the address of whom it really is from.

What a connected socket receives without asking for an address is never looked at. ``recvmsg`` hides that
wish behind a pointer, so it is trapped always, and continued at once without it.
"""

import asyncio
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from mirrord.dispatch.message import Message, Writes, pack_control
from mirrord.dispatch.row import Row, given, trap
from mirrord.dispatch.sockets import (
    address_writes,
    cookie,
    is_blocking,
    program_socket,
    readable,
    receive_timeout,
)
from mirrord.dispatch.world import World
from mirrord.link.addresses import family, from_name, pack
from mirrord.link.associations import Association
from mirrord.syscall import CONTINUE, Call, Fail, Return, Verdict, Wait

_MOST: Final = 65_535
_MSG_ERRQUEUE: Final = 0x2000
_MSG_WAITFORONE: Final = 0x10000
_TIMESPEC: Final = struct.Struct("=qq")
_NS: Final = 1_000_000_000


class Received:
    """One datagram, and from whom it really is."""

    __slots__ = ("control", "data", "flags", "here", "sockaddr")

    def __init__(self, sock: socket.socket, association: Association, flags: int, control_size: int) -> None:
        wanted = flags & (socket.MSG_PEEK | socket.MSG_OOB) | socket.MSG_DONTWAIT
        data, control, flags, name = sock.recvmsg(_MOST, control_size, wanted)
        sender = from_name(name)
        self.data: Final = data
        self.control: Final = pack_control(control)
        self.flags: Final = flags
        self.here: Final = sender
        self.sockaddr: Final = pack(association.by_relay.get(sender, sender), sock.family)


Answer = Callable[[Sequence[Received]], Verdict]


class Receiving:
    """One call of the program, and what it has received so far."""

    def __init__(
        self,
        sock: socket.socket,
        association: Association,
        flags: int,
        control_sizes: Sequence[int],
        deadline: float | None,
    ) -> None:
        """``control_sizes`` has the room for control messages of each datagram that is wanted."""
        self.sock: Final = sock
        self.got: Final[list[Received]] = []
        self._association: Final = association
        self._flags: Final = flags
        self._sizes: Final = control_sizes
        self._deadline: Final = deadline

    def take(self) -> bool:
        """Take what is there; return whether the call is done. Raise OSError for a first one that fails."""
        try:
            while len(self.got) < len(self._sizes):
                size = self._sizes[len(self.got)]
                self.got.append(Received(self.sock, self._association, self._flags, size))
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    return True
        except BlockingIOError:
            return bool(self.got) and bool(self._flags & _MSG_WAITFORONE)
        except OSError:
            if not self.got:
                raise
        return True

    async def wait(self, answer: Answer) -> Verdict:
        """Wait for the rest, for each as long as SO_RCVTIMEO allows (socket(7)).

        What was received is never lost: where the wait ends early, by a signal or by that time, the call
        returns as many as there are, as the kernel does.
        """
        try:
            with self.sock:
                while not self.take():
                    async with asyncio.timeout(receive_timeout(self.sock)):
                        await readable(self.sock)
        except TimeoutError:
            if not self.got:
                return Fail(errno.EAGAIN)
        except asyncio.CancelledError:
            if not self.got:
                raise
        return answer(self.got)


class Receive:
    """Datagrams that the pod receives."""

    def __init__(self, world: World) -> None:
        self._datagrams: Final = world.datagrams

    def rows(self) -> list[Row]:
        """Return the calls of this plane."""
        return [
            trap("recvfrom", self.recvfrom, given(4)),
            trap("recvmsg", self.recvmsg),
            trap("recvmmsg", self.recvmmsg),
        ]

    def recvfrom(self, call: Call) -> Verdict:
        """Receive, with the remote sender's address (recvfrom(2))."""
        return self._receive(call, call.args[3], (0,), partial(_as_recvfrom, call))

    def recvmsg(self, call: Call) -> Verdict:
        """Receive one message, with the remote sender's address (recvmsg(2))."""
        if not self._datagrams:
            return CONTINUE
        message = Message.read(call, call.args[1])
        if not message.name:
            return CONTINUE
        return self._receive(call, call.args[2], (message.control_size,), partial(_as_recvmsg, call, message))

    def recvmmsg(self, call: Call) -> Verdict:
        """Receive several messages, with the remote senders' addresses (recvmmsg(2))."""
        if not self._datagrams:
            return CONTINUE
        messages = Message.read_many(call, call.args[1], call.args[2])
        if not any(message.name for message in messages):
            return CONTINUE
        deadline = _deadline(call, call.args[4]) if call.args[4] else None
        return self._receive(
            call,
            call.args[3],
            [message.control_size for message in messages],
            partial(_as_recvmmsg, call, messages, deadline),
            deadline,
        )

    def _receive(
        self,
        call: Call,
        flags: int,
        control_sizes: Sequence[int],
        answer: Answer,
        deadline: float | None = None,
    ) -> Verdict:
        if not self._datagrams or flags & _MSG_ERRQUEUE:
            return CONTINUE
        with ExitStack() as stack:
            sock = stack.enter_context(program_socket(call, call.args[0]))
            association = self._association(sock)
            if association is None:
                return CONTINUE
            receiving = Receiving(sock, association, flags, control_sizes, deadline)
            if receiving.take() or flags & socket.MSG_DONTWAIT or not is_blocking(sock):
                return answer(receiving.got) if receiving.got else Fail(errno.EAGAIN)
            stack.pop_all()
            return Wait(partial(receiving.wait, answer), interruptible=True)

    def _association(self, sock: socket.socket) -> Association | None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        return self._datagrams.get(cookie(sock))


def _as_recvfrom(call: Call, got: Sequence[Received]) -> Verdict:
    size, flags = call.args[2], call.args[3]
    names = address_writes(call, got[0].sockaddr, at=call.args[4], length_at=call.args[5])
    if call.watched:
        call.here(call.args[4], pack(got[0].here, family(got[0].sockaddr)))
    return Return(_length(got[0], size, flags), ((call.args[1], got[0].data[:size]), *names))


def _as_recvmsg(call: Call, message: Message, got: Sequence[Received]) -> Verdict:
    length, writes = _deliver(call, message, got[0], call.args[2])
    return Return(length, writes)


def _as_recvmmsg(
    call: Call, messages: Sequence[Message], deadline: float | None, got: Sequence[Received]
) -> Verdict:
    writes: list[tuple[int, bytes]] = []
    for message, received in zip(messages, got, strict=False):
        length, parts = _deliver(call, message, received, call.args[3])
        writes += (*parts, message.length_write(length))
    if deadline is not None:
        writes.append((call.args[4], _remaining(deadline)))
    return Return(len(got), tuple(writes))


def _deadline(call: Call, timeout: int) -> float:
    """Return when recvmmsg(2) looks for no further datagram; raise OSError EINVAL."""
    seconds: int
    nanoseconds: int
    seconds, nanoseconds = _TIMESPEC.unpack(call.read(timeout, _TIMESPEC.size))
    if seconds < 0 or not 0 <= nanoseconds < _NS:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return time.monotonic() + seconds + nanoseconds / _NS


def _remaining(deadline: float) -> bytes:
    """Return what recvmmsg(2) leaves of its time-out."""
    return _TIMESPEC.pack(*divmod(max(0, int((deadline - time.monotonic()) * _NS)), _NS))


def _deliver(call: Call, message: Message, received: Received, flags: int) -> tuple[int, Writes]:
    size = sum(size for _, size in message.areas(call))
    truncated = socket.MSG_TRUNC if len(received.data) > size else 0
    control = received.control[: message.control_size]
    if call.watched and message.name:
        call.here(message.name, pack(received.here, family(received.sockaddr)))
    writes = (
        *message.scatter(call, received.data),
        *message.name_writes(received.sockaddr),
        *message.control_writes(control),
        message.flags_write(received.flags & ~socket.MSG_DONTWAIT | truncated),
    )
    return _length(received, size, flags), writes


def _length(received: Received, size: int, flags: int) -> int:
    return len(received.data) if flags & socket.MSG_TRUNC else min(len(received.data), size)
