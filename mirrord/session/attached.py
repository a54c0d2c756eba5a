"""The supervisor of ``mirrord attach``: one session that serves processes which ran before it."""

import asyncio
import os
import signal
import socket
import sys
from typing import Final, NoReturn

from mirrord.config.load import resolve_for_program
from mirrord.config.options import AttachOptions
from mirrord.dispatch.complete import CompleteTable, Handlers
from mirrord.errors import EXIT_MIRRORD, MirrordError
from mirrord.session import adopting, doors, ordering, with_target
from mirrord.session.banner import banner
from mirrord.session.by_keeper import ByKeeper
from mirrord.session.by_tracing import ByTracing
from mirrord.session.chain import EXITED, FAILED, leave_standard_streams, receive, send
from mirrord.session.directory import SessionDirectory
from mirrord.session.engines import make_attaching_engine
from mirrord.session.holding import Holder, everyone
from mirrord.session.processes import kill_all_descendants
from mirrord.session.remote import Remote
from mirrord.session.say import Sayings, say, say_error
from mirrord.session.supervisor import allow_many_descriptors
from mirrord.session.surroundings import surroundings_of
from mirrord.session.watching import InTarget, Watched, Watching
from mirrord.session.worlds import Surroundings, build_world
from mirrord.targets.base import Target
from mirrord.tracer.followed import FollowingEngine

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
        self._handlers = Handlers()
        self._watching: Watching | None = None
        self._over: asyncio.Future[None] | None = None
        self._code = 0

    def serve(self) -> int:
        """Serve until the session or the last process has ended; return the exit code."""
        with_target.serve(self._settings, self._sayings, self._session)
        return self._code

    async def _session(self, target: Target) -> None:
        holder, over = self._hold(), self._begin()
        engine = holder.engine
        link, replicas = await with_target.linked(target, self._sayings)
        remote = await Remote.ask(link, probes=target.probes)
        surroundings = surroundings_of(self._options.pid, lambda: everyone(holder))
        world = await build_world(
            self._settings,
            replicas.lead,
            remote,
            tree=os.path.join(self._directory.path, "fs"),
            sayings=self._sayings,
            surroundings=surroundings,
            forget_thread=engine.forget_thread,
            forget_threads=engine.forget_threads,
            returning_from_signal=engine.returning_from_signal,
            find_kept=engine.find_kept,
        )
        if world.incoming is not None:
            replicas.serve(world.incoming.places)
        await self._attach(
            holder,
            CompleteTable.of(world, engine.own_rows),
            surroundings,
            InTarget(world, replicas.lead, target.label, remote),
        )
        self._sayings.ready()
        for line in banner(self._settings, target.label, remote, environment=False):
            self._sayings.info(line)
        self._sayings.info(f"unchanged: {_UNCHANGED}")
        with_target.succeed(target, replicas, self._sayings, self._link_lost)
        await over
        await self._let_go(holder)
        await with_target.finish(
            link, replicas, self._settings, self._sayings, patience=_PATIENCE, whose="process"
        )
        await self._leave(holder)

    def _hold(self) -> Holder:
        """Choose how the process is attached to; while there is a single thread."""
        pid = self._options.pid
        engine = make_attaching_engine(self._settings, self._sayings, kept=doors.is_open(pid))
        if isinstance(engine, FollowingEngine):
            ordering.order_to_clean(self._orders, self._directory)
            return ByTracing(self._options, engine, sayings=self._sayings, end=self._end, failed=self._failed)
        return ByKeeper(
            self._options,
            engine,
            directory=self._directory,
            orders=self._orders,
            sayings=self._sayings,
            end=self._end,
        )

    def _begin(self) -> "asyncio.Future[None]":
        """Listen to who may end the session; return what is done when it is to end."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_reader(self._channel, self._front_says)
        return self._over

    async def _leave(self, holder: Holder) -> None:
        """Tell of the end."""
        if self._watching is not None:
            await self._watching.close(None)
        if holder.held:
            self._sayings.info(f"process {self._options.pid} goes on locally")
        holder.close()

    async def _attach(
        self, holder: Holder, table: CompleteTable, surroundings: Surroundings, remote: InTarget | None
    ) -> None:
        """Bring the process under the session, and its descendants if asked; raise AttachError."""
        world = remote.world if remote is not None else None
        self._handlers = table.handlers
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
            engine=holder.engine,
            remote=remote,
            trapped=list(table.traps),
            stop=self._end,
            # who is followed stops at the end of each call in any case
            results=isinstance(holder, ByTracing),
        )

        def remember(pid: int) -> None:
            if world is not None:
                adopting.remember(world, pid)

        await holder.attach(table, remember)
        if world is not None:
            for process in list(holder.held):
                await adopting.subscribe(world, process)
        self._watching.start(asyncio.get_running_loop())

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

    def _failed(self, error: Exception) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    def _end(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def _let_go(self, holder: Holder) -> None:
        """Decide nothing more."""
        self._handlers.let_go()
        await holder.let_go()


def _default_target(options: AttachOptions) -> str | None:
    return "sandbox" if options.session.without_target else None
