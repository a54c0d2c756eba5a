"""One session in the supervisor: from the configuration to the end of the program's last process."""

import asyncio
import errno
import os
import shutil
import signal
import socket
from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeVar

from mirrord.config.environment import EnvironmentRules
from mirrord.config.here import working_directory
from mirrord.config.model import Settings
from mirrord.dispatch.table import Table, rows_of
from mirrord.errors import MirrordError
from mirrord.link.connections import Connections
from mirrord.link.incoming import Incoming
from mirrord.session import with_target
from mirrord.session.banner import banner
from mirrord.session.chain import (
    EXITED,
    LEFT,
    SIGNAL,
    STARTED,
    STOPPED,
    Chain,
    leave_standard_streams,
    receive,
    send,
)
from mirrord.session.directory import SESSION_VARIABLE
from mirrord.session.engines import make_engine
from mirrord.session.processes import children, kill, kill_all_descendants
from mirrord.session.remote import Remote
from mirrord.session.replicas import Replicas
from mirrord.session.say import Sayings, say
from mirrord.session.watching import InTarget, Watched, Watching
from mirrord.session.worlds import Surroundings, build_world
from mirrord.targets.base import Target
from mirrord.tracer.engine import Engine, Program
from mirrord.tracer.parked import Parked

T = TypeVar("T")
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end a session in which nothing runs yet."""
_FLUSH_PATIENCE: Final = 0.5
_STOP_PATIENCE: Final = 5.0
_KILL_TICK: Final = 0.1
_REST: Final = 0.2
"""Seconds for what ends with the program, but after it, as a helper that sees a pipe of it close."""
_NO_DESCRIPTOR: Final = (errno.EMFILE, errno.ENFILE)
_LOOK_AGAIN: Final = 0.1
_LINGER: Final = 60.0
"""Seconds for which the session goes on for the sake of what its program wrote before it ended."""


class Run:
    """The supervisor's work, in order."""

    def __init__(
        self, chain: Chain, channel: socket.socket, parked: Parked, settings: Settings, sayings: Sayings
    ) -> None:
        self._chain: Final = chain
        self._channel: Final = channel
        self._parked: Final = parked
        self._settings: Final = settings
        self._sayings: Final = sayings
        self._own: frozenset[int] = frozenset()
        self._engine: Engine | None = None
        self._connections: Connections | None = None
        self._incoming: Incoming | None = None
        self._watching: Watching | None = None
        self._status: int | None = None
        self._told = False
        self._rest: asyncio.TimerHandle | None = None
        """What the program has left has so long to end."""
        self._over: asyncio.Future[None] | None = None
        self._reserved: Final = channel.dup()
        """For the end, that it is seen even where the program's connections have taken all descriptors."""

    def serve(self) -> None:
        """Serve until the last process of the program has ended."""
        with_target.serve(self._settings, self._sayings, self._session, note=self._chain.directory.note)
        self._chain.directory.remove()
        self._tell_end()

    def _tell_end(self) -> None:
        if not self._told:
            send(self._channel, EXITED, self._status or 0)

    async def _session(self, target: Target) -> None:
        self._engine = engine = make_engine(self._settings, self._sayings)
        link, replicas = await self._unless_ended(with_target.linked(target, self._sayings))
        remote = await Remote.ask(link, probes=target.probes)
        self._sayings.ready()
        for line in banner(self._settings, target.label, remote):
            self._sayings.info(line)
        await self._start(replicas, remote, target.label, engine)
        with_target.succeed(target, replicas, self._sayings, self._link_lost)
        assert self._over is not None
        await self._over
        await with_target.finish(
            link,
            replicas,
            self._settings,
            self._sayings,
            flush=self._flush,
            patience=_LINGER,
            whose="program",
        )
        if self._watching is not None:
            await self._watching.close(self._status)

    async def _unless_ended(self, starting: Coroutine[Any, Any, T]) -> T:
        """Wait for what may take long; give it up if the user does not wait, or the front has died."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(starting)

        def front_says() -> None:
            match receive(self._channel):
                case [kind, number] if kind == SIGNAL and int(number) not in _ENDING:
                    return
            loop.remove_reader(self._channel)
            task.cancel()

        loop.add_reader(self._channel, front_says)
        # the terminal's signals go to the process that is to be the program, and end it
        parked = os.pidfd_open(self._parked.pid)
        loop.add_reader(parked, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            raise MirrordError("interrupted before the program was started") from None
        finally:
            loop.remove_reader(self._channel)
            loop.remove_reader(parked)
            os.close(parked)

    async def _start(self, replicas: Replicas, remote: Remote, target: str, engine: Engine) -> None:
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        environment = self._environment(remote)
        program = self._chain.options.program
        surroundings = Surroundings((_found(program[0], environment), *program[1:]))
        world = await build_world(
            self._settings,
            replicas.lead,
            remote,
            tree=os.path.join(self._chain.directory.path, "fs"),
            sayings=self._sayings,
            surroundings=surroundings,
            forget_thread=engine.forget_thread,
            forget_threads=engine.forget_threads,
            returning_from_signal=engine.returning_from_signal,
            find_kept=engine.find_kept,
        )
        self._connections, self._incoming = world.connections, world.incoming
        if world.incoming is not None:
            replicas.serve(world.incoming.places)
        table = Table(rows_of(world), engine.trap, engine.own_rows)
        await self._launch(engine, environment, table)
        self._watching = Watching(
            self._watched(surroundings),
            self._settings,
            engine=engine,
            remote=InTarget(world, replicas.lead, target, remote),
            trapped=list(table.handlers),
            stop=self._stop,
            results=self._chain.options.results,
        )
        self._begin(engine)

    async def _launch(self, engine: Engine, environment: Mapping[bytes, bytes], table: Table) -> None:
        """Start the program with its calls trapped; nothing is answered before :meth:`_begin`."""
        program = self._chain.options.program
        self._own = frozenset(children()) - {self._parked.pid}
        argv = [os.fsencode(word) for word in program]
        await engine.launch(Program(self._parked, argv, environment), table)
        send(self._channel, STARTED)

    def _watched(self, surroundings: Surroundings) -> Watched:
        return Watched(
            directory=self._chain.directory,
            front=self._chain.front,
            program=self._chain.options.program,
            pid=self._parked.pid,
            surroundings=surroundings,
            feed=self._chain.feed,
        )

    def _begin(self, engine: Engine) -> None:
        """Answer the program's calls, and tell who watches."""
        loop = asyncio.get_running_loop()
        if self._watching is not None:
            self._watching.start(loop)
        engine.begin(self._children_changed, self._failed)
        loop.add_reader(self._channel, self._front_says)
        self._children_changed()

    def _environment(self, remote: Remote) -> dict[bytes, bytes]:
        rules = EnvironmentRules.from_settings(self._settings, cwd=working_directory())
        environment = rules.apply(remote.environment, os.environb)
        environment[SESSION_VARIABLE.encode()] = self._chain.directory.id.encode()
        return environment

    def _children_changed(self) -> None:
        """Take note of stops and ends; the program's orphans are our children too, but not what the target
        has started.
        """
        try:
            self._look_at_all()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR:
                raise
            # once it is closed there is one to look with, for as long as nothing else takes it
            self._reserved.close()
            asyncio.get_running_loop().call_later(_LOOK_AGAIN, self._children_changed)

    def _look_at_all(self) -> None:
        for pid in {*children(), self._parked.pid} - self._own:
            self._look_at(pid)
        if self._status is not None and self._rest is None and self._left():
            self._rest = asyncio.get_running_loop().call_later(_REST, self._go_on_in_background)
        if self._status is not None and not self._left():
            self._end()

    def _look_at(self, pid: int) -> None:
        assert self._engine is not None
        status = self._engine.status(pid)
        if status is None or pid != self._parked.pid or self._status is not None:
            return
        if os.WIFSTOPPED(status):
            send(self._channel, STOPPED, os.WSTOPSIG(status))
        else:
            self._status = status

    def _left(self) -> set[int]:
        return set(children()) - self._own

    def _stop(self) -> None:
        """End what runs, as kill(1) does, and by force where that does not help."""
        for pid in self._left():
            kill(pid, signal.SIGTERM)
        asyncio.get_running_loop().call_later(_STOP_PATIENCE, self._kill)

    def _kill(self) -> None:
        # their children come to us, and are next
        for pid in self._left():
            kill(pid, signal.SIGKILL)
        asyncio.get_running_loop().call_later(_KILL_TICK, self._kill)

    def _go_on_in_background(self) -> None:
        if self._told or not (count := len(self._left())):
            return
        self._sayings.info(
            f"the program has ended; {count} process{'es' * (count > 1)} that it left "
            "will be served in the background"
        )
        self._let_go()

    def _front_says(self) -> None:
        match receive(self._channel):
            case [kind, number] if kind == SIGNAL:
                if self._status is None:
                    kill(self._parked.pid, int(number))
            case []:
                asyncio.get_running_loop().remove_reader(self._channel)
                if not self._told:
                    self._front_died()

    def _front_died(self) -> None:
        say("the session was ended: its front died, and the program with it")
        self._told = True
        kill_all_descendants(spare=self._own)
        self._end()

    def _failed(self, error: Exception) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_exception(error)

    def _end(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _link_lost(self, reason: str) -> None:
        if self._over is not None and not self._over.done():
            self._sayings.warn(f"the agent is gone, and what was remote fails from now on: {reason}")

    async def _flush(self) -> None:
        """Hand over what is left; the user's shell waits for that a moment only, as it would not wait for a
        kernel's buffers.
        """
        flushed = asyncio.ensure_future(self._all_flushed())
        await asyncio.wait([flushed], timeout=_FLUSH_PATIENCE)
        if not flushed.done() and not self._told:
            self._let_go()
        await flushed

    async def _all_flushed(self) -> None:
        for relays in (self._connections, self._incoming):
            if relays is not None:
                await relays.flushed()

    def _let_go(self) -> None:
        self._told = True
        send(self._channel, LEFT, self._status or 0)
        leave_standard_streams(error=True)


def _found(program: str, environment: Mapping[bytes, bytes]) -> str:
    return shutil.which(program, path=os.fsdecode(environment.get(b"PATH", b""))) or program
