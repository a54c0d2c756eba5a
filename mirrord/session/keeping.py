"""The keeper of an attached process: whoever else ends, it holds the process's listener, for as long as the
process lives, and answers for it when no session does.

A filter never comes off a process, and one without a listener fails every call that it traps. So the keeper
itself puts the filter on; it is a daemon of its own from then on, with all signals blocked. A session gets a
duplicate of the listener over ``keeper-PID.sock``, and has the calls until that connection ends, however it
does. The keeper then answers what the session still owed (``tracer/ledger.py``), and all later calls, with
``Continue``: the process is local. ``mirrord detach`` asks at the same socket to have the session end.
"""

import os
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mirrord_seccomp.notify import Listener
from mirrord_seccomp.rules import Rule

from mirrord.errors import MirrordError
from mirrord.session import doors, errands
from mirrord.session.directory import SessionDirectory
from mirrord.session.doors import DETACHED, END, HELD, IDLE, LISTENER, receive, send
from mirrord.tracer.attach import Unstoppable, attach
from mirrord.tracer.leaving import Leaving
from mirrord.tracer.ledger import Ledger

CLEAN: Final = "clean"
_CLOSED: Final = select.POLLHUP | select.POLLERR


@dataclass(slots=True, eq=False)
class Kept:
    """One process, with the session that has its calls, if any."""

    pid: int
    listener: Listener
    leaving: Leaving
    ledger: Ledger
    path: str
    door: socket.socket | None
    """Where sessions ask for it; closed when the process has ended and only descendants are left."""
    process: int
    """A pidfd."""
    session: socket.socket | None = None
    session_pid: int = 0
    directory: SessionDirectory | None = None
    """That of the session, which may not live to remove it."""
    waiting: list[socket.socket] = field(default_factory=list)
    """Who has asked for the session's end."""


class Keeper:
    """Keeps processes until the last has ended."""

    def __init__(self, orders: socket.socket | None) -> None:
        """``orders`` brings processes to attach to."""
        self._orders: socket.socket | None = orders
        self._poll: Final = select.poll()
        self._ready: Final[dict[int, Callable[[int], None]]] = {}
        self._kept: Final[set[Kept]] = set()
        self._to_clean: SessionDirectory | None = None
        if orders is not None:
            self._watch(orders.fileno(), self._ordered)

    def serve(self) -> None:
        """Serve until there is nothing to keep and nobody to order it."""
        while self._orders is not None or self._kept:
            for fd, events in self._poll.poll():
                ready = self._ready.get(fd)
                if ready is not None:
                    _whatever_happens(ready, events)

    def _watch(self, fd: int, ready: Callable[[int], None], events: int = select.POLLIN) -> None:
        self._ready[fd] = ready
        self._poll.register(fd, events)

    def _close(self, sock: socket.socket) -> None:
        self._forget(sock.fileno())
        sock.close()

    def _forget(self, fd: int) -> None:
        self._ready.pop(fd, None)
        self._poll.unregister(fd)

    def _ordered(self, _: int) -> None:
        assert self._orders is not None
        match receive(self._orders)[0]:
            case [int(pid), str(filter_), str(traps)]:
                self._attach(pid, bytes.fromhex(filter_), doors.decode(traps))
            case [kind, str(id), str(path)] if kind == CLEAN:
                self._to_clean = SessionDirectory(id, path)
            case _:
                self._close(self._orders)
                self._orders = None
                self._clean()

    def _clean(self) -> None:
        if self._to_clean is not None:
            doors.sweep()
            self._to_clean.remove()

    def _attach(self, pid: int, filter_: bytes, traps: Mapping[int, Sequence[Rule]]) -> None:
        assert self._orders is not None
        try:
            path = doors.path_of(pid)
            door = doors.open_at(path)
            try:
                attachment = attach(pid, filter_)
            except BaseException:
                door.close()
                doors.remove(path)
                raise
        except Unstoppable as error:
            send(self._orders, error.problem, error.remedy)
            # the kernel lets go when a tracer ends: another process keeps from here on what there is
            if os.fork():
                os._exit(0)
        except MirrordError as error:
            send(self._orders, error.problem, error.remedy)
        except OSError as error:
            send(self._orders, f"process {pid} cannot be attached to: {error.strerror}", "")
        except Exception as error:
            send(self._orders, f"a fault of mirrord itself: {type(error).__name__}: {error}", "report it")
        else:
            listener = Listener(attachment.listener)
            leaving = Leaving(listener, traps)
            self.keep(Kept(pid, listener, leaving, Ledger.create(), path, door, attachment.process))
            send(self._orders, attachment.threads, attachment.stopped)

    def keep(self, kept: Kept) -> None:
        """Answer for a process from here on."""
        self._kept.add(kept)
        self._watch(kept.listener.fd, lambda events: self._called(kept, events))
        self._watch(kept.process, lambda _: self._shut(kept))
        if kept.door is not None:
            self._watch(kept.door.fileno(), lambda _: self._visited(kept))

    def _called(self, kept: Kept, events: int) -> None:
        """Answer one call, or end with the process."""
        if events & _CLOSED:
            self._ended(kept)
        elif kept.session is None:
            kept.leaving.answer()

    def _ended(self, kept: Kept) -> None:
        self._kept.remove(kept)
        self._forget(kept.listener.fd)
        kept.listener.close()
        kept.ledger.close()
        self._shut(kept)
        for sock in (kept.session, *kept.waiting):
            if sock is not None:
                self._close(sock)

    def _shut(self, kept: Kept) -> None:
        """Let nobody ask for the process any more: it has ended, and its number may become another's."""
        if kept.door is None:
            return
        self._forget(kept.process)
        os.close(kept.process)
        self._close(kept.door)
        kept.door = None
        doors.remove(kept.path)

    def _visited(self, kept: Kept) -> None:
        assert kept.door is not None
        visitor, _ = kept.door.accept()
        if doors.peer(visitor)[1] not in (os.geteuid(), 0):
            visitor.close()
            return
        self._watch(visitor.fileno(), lambda _: self._told(kept, visitor))

    def _told(self, kept: Kept, visitor: socket.socket) -> None:
        words, fds = receive(visitor, fds=1)
        if visitor is kept.session and (done := errands.run(kept.listener, words, fds)) is not None:
            send(visitor, *done)
            return
        for fd in fds:
            os.close(fd)
        match words:
            case ["serve", str(id), str(path)] if kept.session is None:
                kept.directory = SessionDirectory(id, path)
                self._hand_over(kept, visitor)
            case ["serve", *_]:
                send(visitor, HELD, kept.session_pid)
                self._close(visitor)
            case ["detach"] if kept.session is not None:
                kept.waiting.append(visitor)
                send(kept.session, END)
            case ["detach"]:
                send(visitor, IDLE)
                self._close(visitor)
            case _ if visitor is kept.session:
                self._take_back(kept)
            case _:
                if visitor in kept.waiting:
                    kept.waiting.remove(visitor)
                self._close(visitor)

    def _hand_over(self, kept: Kept, session: socket.socket) -> None:
        kept.session, kept.session_pid = session, doors.peer(session)[0]
        kept.leaving.forget()
        # of the listener only its end is looked at from here on
        self._poll.modify(kept.listener.fd, 0)
        send(session, LISTENER, fds=(kept.listener.fd, kept.ledger.fd))

    def _take_back(self, kept: Kept) -> None:
        assert kept.session is not None
        self._close(kept.session)
        kept.session = None
        for id in kept.ledger.owed():
            kept.listener.send_continue(id)
        kept.ledger.clear()
        self._poll.modify(kept.listener.fd, select.POLLIN)
        for visitor in kept.waiting:
            send(visitor, DETACHED)
            self._close(visitor)
        kept.waiting.clear()
        self._remove_directory(kept)

    def _remove_directory(self, kept: Kept) -> None:
        if kept.directory is not None:
            kept.directory.remove()
            kept.directory = None


def _whatever_happens(ready: Callable[[int], None], events: int) -> None:
    try:
        ready(events)
    except Exception:
        # nobody is there to be told, and what a visitor has done wrong must not end the process's answers
        return
