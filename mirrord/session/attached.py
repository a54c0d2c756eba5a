"""The supervisor of ``mirrord attach``: one session that serves processes which ran before it."""

import asyncio
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Final, NoReturn

from mirrord.config.load import resolve_for_program
from mirrord.config.options import AttachOptions
from mirrord.dispatch.complete import CompleteTable, Handlers
from mirrord.dispatch.world import World
from mirrord.errors import EXIT_MIRRORD, AttachError, MirrordError
from mirrord.session import adopting, doors, keeping, with_target
from mirrord.session.banner import banner
from mirrord.session.chain import EXITED, FAILED, leave_standard_streams, receive, send
from mirrord.session.directory import SessionDirectory
from mirrord.session.processes import descendants, kill_all_descendants
from mirrord.session.remote import Remote
from mirrord.session.replacing import replace
from mirrord.session.say import Sayings, say, say_error
from mirrord.session.supervisor import allow_many_descriptors
from mirrord.session.surroundings import surroundings_of
from mirrord.session.taken import Taken, connected, handed_over
from mirrord.session.watching import InTarget, Watched, Watching
from mirrord.session.worlds import Surroundings, build_world
from mirrord.targets.base import Target
from mirrord.tracer import attachable
from mirrord.tracer.notified import NotifyEngine

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
    feed: socket.socket | None,
) -> NoReturn:
    """Run the session; this process ends with it."""
    # the terminal's signals must not reach who answers the process's calls
    os.setsid()
    leave_standard_streams(error=False)
    allow_many_descriptors()
    words: tuple[str | int, ...]
    try:
        kind = Attached
        if options.session.without_target:
            from mirrord.session.attached_local import LocalAttached

            kind = LocalAttached
        words = EXITED, kind(options, directory, orders, channel, front, feed).serve()
    except MirrordError as error:
        say_error(error)
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


class Attached:
    """The supervisor's work, in order."""

    def __init__(
        self,
        options: AttachOptions,
        directory: SessionDirectory,
        orders: socket.socket,
        channel: socket.socket,
        front: int,
        feed: socket.socket | None,
    ) -> None:
        """``feed`` is the connection to who watches from the beginning."""
        self._options: Final = options
        self._directory: Final = directory
        self._orders: Final = orders
        self._channel: Final = channel
        self._front: Final = front
        self._feed: Final = feed
        # a session without a target has settings as if it had one, which is never asked for
        self._settings: Final = resolve_for_program(
            options.session, os.environ, default_target=_default_target(options)
        )
        self._sayings: Final = Sayings(quiet=self._settings.quiet, verbose=self._settings.verbosity > 0)
        self._engine: Final = NotifyEngine(skipped=self._settings.skipped_processes, warn=self._sayings.warn)
        self._processes: Final[dict[int, Taken]] = {}
        self._ends: Final[dict[Taken, select.epoll]] = {}
        self._handlers = Handlers()
        self._watching: Watching | None = None
        self._over: asyncio.Future[None] | None = None
        self._code = 0

    def serve(self) -> int:
        """Serve until the session or the last process has ended; return the exit code."""
        with_target.serve(self._settings, self._sayings, self._session)
        return self._code

    async def _session(self, target: Target) -> None:
        over = self._begin()
        link, replicas = await with_target.linked(target, self._sayings)
        remote = await Remote.ask(link, probes=target.probes)
        surroundings = surroundings_of(self._options.pid, self._all_processes)
        world = await build_world(
            self._settings,
            replicas.lead,
            remote,
            tree=os.path.join(self._directory.path, "fs"),
            sayings=self._sayings,
            surroundings=surroundings,
            forget_thread=self._engine.forget_thread,
            forget_threads=self._engine.forget_threads,
            returning_from_signal=self._engine.returning_from_signal,
            find_kept=None,
        )
        if world.incoming is not None:
            replicas.serve(world.incoming.places)
        await self._attach_all(
            CompleteTable.of(world), surroundings, InTarget(world, replicas.lead, target.label, remote)
        )
        self._sayings.ready()
        for line in banner(self._settings, target.label, remote, environment=False):
            self._sayings.info(line)
        self._sayings.info(f"unchanged: {_UNCHANGED}")
        with_target.succeed(target, replicas, self._sayings, self._link_lost)
        await over
        self._let_go()
        await with_target.finish(
            link, replicas, self._settings, self._sayings, patience=_PATIENCE, whose="process"
        )
        await self._leave()

    def _begin(self) -> "asyncio.Future[None]":
        """Listen to who may end the session; return what is done when it is to end."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_reader(self._channel, self._front_says)
        return self._over

    async def _leave(self) -> None:
        """Tell of the end."""
        if self._watching is not None:
            await self._watching.close(None)
        if self._processes:
            self._sayings.info(f"process {self._options.pid} goes on locally")

    async def _attach_all(
        self, table: CompleteTable, surroundings: Surroundings, remote: InTarget | None
    ) -> None:
        """Bring the process under the session, and its descendants if asked; raise AttachError."""
        world = remote.world if remote is not None else None
        self._handlers = table.handlers
        self._engine.interrupted.trapped = table.traps
        self._watching = Watching(
            Watched(
                directory=self._directory,
                front=self._front,
                program=tuple(surroundings.program),
                pid=self._options.pid,
                surroundings=surroundings,
                feed=self._feed,
                environment=False,
            ),
            self._settings,
            engine=self._engine,
            remote=remote,
            trapped=list(table.traps),
            stop=self._end,
        )
        self._attach(world, self._options.pid, table)
        if self._options.descendants:
            self._attach_descendants(world, table)
        if world is not None:
            for process in list(self._processes):
                await adopting.subscribe(world, process)
        self._watching.start(asyncio.get_running_loop())
        # the keeper ends now if it has got nothing to keep
        self._orders.close()

    def _attach(self, world: World | None, pid: int, table: CompleteTable) -> None:
        """Bring one process under the session; raise AttachError."""
        if world is not None:
            adopting.remember(world, pid)
        keeper = doors.connect(pid)
        if keeper is None:
            threads, stopped = keeping.order(self._orders, pid, table.filter, table.traps)
            keeper = connected(pid)
            count = f"{threads} thread{'s' * (threads > 1)}"
            said = f"process {pid}: {count}, stopped for {stopped * 1000:.1f} ms"
        else:
            said = f"process {pid}: its keeper has handed it over"
        process = Taken.over(pid, keeper, self._directory)
        self._processes[pid] = process
        self._engine.serve(process.listener, self._handlers, ledger=process.ledger)
        self._watch(process)
        self._sayings.detail(said)

    def _attach_descendants(self, world: World | None, table: CompleteTable) -> None:
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

    def _watch(self, process: Taken) -> None:
        loop = asyncio.get_running_loop()
        # in a set of its own, as its end only is looked at: the loop would be woken by every call
        end = self._ends[process] = select.epoll()
        end.register(process.listener.fd, 0)
        loop.add_reader(end.fileno(), self._ended, process)
        loop.add_reader(process.keeper, self._keeper_says, process)

    def _ended(self, process: Taken) -> None:
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

    def _keeper_says(self, process: Taken) -> None:
        match doors.receive(process.keeper)[0]:
            case [doors.END]:
                self._end()
            case []:
                asyncio.get_running_loop().remove_reader(process.keeper)
                if process.pid in self._processes and not process.listener.finished():
                    self._replace_keeper(process)

    def _replace_keeper(self, process: Taken) -> None:
        listener = process.listener
        try:
            replace(process.pid, listener.fd, process.ledger.fd, self._engine.interrupted.trapped)
            process.keeper = connected(process.pid)
            for fd in handed_over(process.pid, process.keeper, self._directory):
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

    def _link_lost(self, reason: str) -> None:
        if self._over is not None and not self._over.done():
            self._sayings.warn(f"the agent is gone: {reason}")
            self._code = EXIT_MIRRORD
            self._end()

    def _end(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _let_go(self) -> None:
        """Decide nothing more; what then is not answered yet, the keeper answers."""
        self._handlers.let_go()
        self._engine.let_go()

    def _all_processes(self) -> Iterator[int]:
        yield from self._processes
        yield from descendants(*self._processes)


def _default_target(options: AttachOptions) -> str | None:
    return "sandbox" if options.session.without_target else None
