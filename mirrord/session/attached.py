"""The supervisor of ``mirrord attach``: one session that serves processes which ran before it."""

import asyncio
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from mirrord_seccomp.notify import Listener

from mirrord.config.load import resolve
from mirrord.config.options import AttachOptions
from mirrord.dispatch.complete import CompleteTable, Handlers
from mirrord.dispatch.world import World
from mirrord.errors import EXIT_MIRRORD, AttachError, MirrordError
from mirrord.link import listeners as listening
from mirrord.link.addresses import from_name
from mirrord.link.client import Link
from mirrord.session import doors, keeping, with_target
from mirrord.session.banner import banner
from mirrord.session.chain import EXITED, FAILED, leave_standard_streams, receive, send
from mirrord.session.directory import SessionDirectory
from mirrord.session.opened import datagram_sockets, kernels_ports, listeners
from mirrord.session.processes import descendants, kill_all_descendants
from mirrord.session.remote import Remote
from mirrord.session.replacing import replace
from mirrord.session.say import Sayings, say
from mirrord.session.serving import Serving
from mirrord.session.supervisor import allow_many_descriptors
from mirrord.session.surroundings import surroundings_of
from mirrord.session.watching import InTarget, Watched, Watching
from mirrord.session.worlds import build_world
from mirrord.targets.base import Target
from mirrord.tracer import attachable
from mirrord.tracer.ledger import Ledger

_PATIENCE: Final = 5.0
"""Seconds for the agent to take what was written before the session ended."""
_UNCHANGED: Final = "its environment, its current directory, and what it has open or mapped"


def main(
    options: AttachOptions,
    directory: SessionDirectory,
    *,
    orders: socket.socket,
    channel: socket.socket,
    front: int,
) -> NoReturn:
    """Run the session; this process ends with it."""
    # the terminal's signals must not reach who answers the process's calls
    os.setsid()
    leave_standard_streams(error=False)
    allow_many_descriptors()
    words: tuple[str | int, ...]
    try:
        words = EXITED, Attached(options, directory, orders, channel, front).serve()
    except MirrordError as error:
        say(str(error))
        words = FAILED, error.exit_code
    except Exception as error:
        if os.environ.get("MIRRORD_TRACEBACK"):
            sys.excepthook(type(error), error, error.__traceback__)
        say(
            f"a fault of mirrord itself ended the session: {type(error).__name__}: {error}; "
            "set MIRRORD_TRACEBACK=1 to see where, and report it"
        )
        words = FAILED, EXIT_MIRRORD
    # our own: what the target has started
    kill_all_descendants()
    directory.remove()
    send(channel, *words)
    os._exit(0)


@dataclass(slots=True, eq=False)
class _Process:
    """One process that is served, and the connection to its keeper."""

    pid: int
    keeper: socket.socket
    listener: Listener
    ledger: Ledger


class Attached:
    """The supervisor's work, in order."""

    def __init__(
        self,
        options: AttachOptions,
        directory: SessionDirectory,
        orders: socket.socket,
        channel: socket.socket,
        front: int,
    ) -> None:
        self._options: Final = options
        self._directory: Final = directory
        self._orders: Final = orders
        self._channel: Final = channel
        self._front: Final = front
        self._settings: Final = resolve(options.session, os.environ)
        self._sayings: Final = Sayings(quiet=self._settings.quiet, verbose=self._settings.verbosity > 0)
        self._serving: Final = Serving(self._settings, self._sayings)
        self._processes: Final[dict[int, _Process]] = {}
        self._ends: Final[dict[_Process, select.epoll]] = {}
        self._handlers = Handlers()
        self._watching: Watching | None = None
        self._over: asyncio.Future[None] | None = None
        self._code = 0

    def serve(self) -> int:
        """Serve until the session or the last process has ended; return the exit code."""
        with_target.serve(self._settings, self._sayings, self._session)
        return self._code

    async def _session(self, target: Target) -> None:
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_reader(self._channel, self._front_says)
        link = await with_target.linked(target)
        remote = await Remote.ask(link)
        await self._attach_all(link, remote, target.label)
        # the keeper ends now if it has got nothing to keep
        self._orders.close()
        for line in banner(self._settings, target.label, remote, environment=False):
            self._sayings.info(line)
        self._sayings.info(f"unchanged: {_UNCHANGED}")
        link.channel.closed.add_done_callback(self._link_lost)
        await self._over
        self._let_go()
        await with_target.finish(link, self._settings, self._sayings, patience=_PATIENCE, whose="process")
        if self._watching is not None:
            await self._watching.close(None)
        if self._processes:
            self._sayings.info(f"process {self._options.pid} goes on locally")

    async def _attach_all(self, link: Link, remote: Remote, target: str) -> None:
        pid = self._options.pid
        surroundings = surroundings_of(pid, self._all_processes)
        world = await build_world(
            self._settings,
            link,
            remote,
            tree=os.path.join(self._directory.path, "fs"),
            sayings=self._sayings,
            surroundings=surroundings,
            forget_thread=self._serving.forget_thread,
            forget_threads=self._serving.forget_threads,
            returning_from_signal=self._serving.returning_from_signal,
        )
        table = CompleteTable(world)
        self._handlers = table.handlers
        self._serving.interrupted.trapped = table.traps
        watched = Watched(
            directory=self._directory,
            front=self._front,
            program=tuple(surroundings.program),
            pid=pid,
            surroundings=surroundings,
            environment=False,
        )
        self._watching = Watching(
            watched,
            self._settings,
            serving=self._serving,
            remote=InTarget(world, link.channel, target, remote),
            trapped=list(table.handlers),
            stop=self._end,
        )
        self._attach(world, pid, table)
        if self._options.descendants:
            self._attach_descendants(world, table)
        for process in list(self._processes):
            await _subscribe(world, process)
        self._watching.start(asyncio.get_running_loop())

    def _attach(self, world: World, pid: int, table: CompleteTable) -> None:
        """Bring one process under the session; raise AttachError."""
        _remember_sockets(world, pid)
        keeper = doors.connect(pid)
        if keeper is None:
            threads, stopped = keeping.order(self._orders, pid, table.filter, table.traps)
            keeper = _connected(pid)
            count = f"{threads} thread{'s' * (threads > 1)}"
            said = f"process {pid}: {count}, stopped for {stopped * 1000:.1f} ms"
        else:
            said = f"process {pid}: its keeper has handed it over"
        process = _take(pid, keeper, self._directory)
        self._processes[pid] = process
        self._serving.serve(process.listener, self._handlers, ledger=process.ledger)
        self._watch(process)
        self._sayings.detail(said)

    def _attach_descendants(self, world: World, table: CompleteTable) -> None:
        """Bring the children, and theirs, under the session too: those that were there before it have no
        filter yet.
        """
        for pid in list(descendants(self._options.pid)):
            try:
                status = attachable.Status.of(pid)
                if status.seccomp and not os.path.exists(doors.path_of(pid)):
                    # born after its parent came under the filter, which it has too
                    continue
                self._attach(world, pid, table)
            except AttachError as error:
                self._sayings.warn(f"warning: process {pid} runs locally: {error}")

    def _watch(self, process: _Process) -> None:
        loop = asyncio.get_running_loop()
        # in a set of its own, as its end only is looked at: the loop would be woken by every call
        end = self._ends[process] = select.epoll()
        end.register(process.listener.fd, 0)
        loop.add_reader(end.fileno(), self._ended, process)
        loop.add_reader(process.keeper, self._keeper_says, process)

    def _ended(self, process: _Process) -> None:
        """Take note that the last process under a filter has ended."""
        loop = asyncio.get_running_loop()
        end = self._ends.pop(process)
        loop.remove_reader(end.fileno())
        end.close()
        # it stays open: its end would tell the keeper that the session is over
        loop.remove_reader(process.keeper)
        del self._processes[process.pid]
        if not self._processes:
            self._sayings.info(f"process {self._options.pid} has ended")
            self._end()

    def _keeper_says(self, process: _Process) -> None:
        match doors.receive(process.keeper)[0]:
            case [doors.END]:
                self._end()
            case []:
                asyncio.get_running_loop().remove_reader(process.keeper)
                if process.pid in self._processes and not process.listener.finished():
                    self._replace_keeper(process)

    def _replace_keeper(self, process: _Process) -> None:
        listener = process.listener
        try:
            replace(process.pid, listener.fd, process.ledger.fd, self._serving.interrupted.trapped)
            process.keeper = _connected(process.pid)
            for fd in _handed_over(process.pid, process.keeper, self._directory):
                # the same ones that we have
                os.close(fd)
        except AttachError as error:
            self._sayings.warn(
                f"warning: {error}: when this session ends, calls of the process fail, until mirrord attach "
                "is run on it again"
            )
        else:
            asyncio.get_running_loop().add_reader(process.keeper, self._keeper_says, process)
            self._sayings.detail(f"the keeper of process {process.pid} was killed: it has another one")

    def _front_says(self) -> None:
        match receive(self._channel):
            case [doors.END]:
                self._end()
            case []:
                asyncio.get_running_loop().remove_reader(self._channel)
                self._end()

    def _link_lost(self, reason: "asyncio.Future[str]") -> None:
        if self._over is not None and not self._over.done():
            self._sayings.warn(f"the agent is gone: {reason.result()}")
            self._code = EXIT_MIRRORD
            self._end()

    def _end(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _let_go(self) -> None:
        """Decide nothing more; what then is not answered yet, the keeper answers."""
        self._handlers.let_go()
        self._serving.let_go()

    def _all_processes(self) -> Iterator[int]:
        yield from self._processes
        yield from descendants(*self._processes)


def _connected(pid: int) -> socket.socket:
    keeper = doors.connect(pid)
    if keeper is None:
        raise AttachError(f"process {pid} has ended meanwhile")
    return keeper


def _take(pid: int, keeper: socket.socket, directory: SessionDirectory) -> _Process:
    """Take the process's calls over from its keeper; raise AttachError when another session has them."""
    listener, calls = _handed_over(pid, keeper, directory)
    ledger = Ledger(calls)
    return _Process(pid, keeper, ledger.listener(listener), ledger)


def _handed_over(pid: int, keeper: socket.socket, directory: SessionDirectory) -> tuple[int, int]:
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


def _remember_sockets(world: World, pid: int) -> None:
    """Remember the sockets that the process serves on already, as its calls would have told."""
    world.own_listeners.update(one.inode for one in listeners(pid))
    world.own_datagram_sockets.update(one.inode for one in datagram_sockets(pid))


async def _subscribe(world: World, pid: int) -> None:
    """Have connections to the target's ports reach the sockets that the process listens on already."""
    if world.incoming is None:
        return
    for one in listeners(pid):
        if world.incoming.listener(one.inode) is not None or (duplicate := one.duplicate()) is None:
            continue
        with duplicate:
            listener, name = listening.Listener.of(duplicate), from_name(duplicate.getsockname())
        if name.port in kernels_ports():
            # most likely nobody asked for it, and nobody else knows it
            continue
        port = world.incoming_rules.remote_port(name.port, is_loopback=name.is_loopback)
        if port is not None:
            await world.incoming.subscribe(port, listener)
