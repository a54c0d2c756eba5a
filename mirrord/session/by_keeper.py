"""Attaching by the engine notify: a keeper puts the filter onto the process, and lends its listener."""

import asyncio
import os
import select
import socket
from collections.abc import Callable, Iterable
from typing import Final

from mirrord.config.options import AttachOptions
from mirrord.dispatch.complete import CompleteTable
from mirrord.errors import AttachError
from mirrord.session import doors, ordering
from mirrord.session.directory import SessionDirectory
from mirrord.session.errands import Errands
from mirrord.session.processes import descendants
from mirrord.session.replacing import replace
from mirrord.session.say import Sayings
from mirrord.session.taken import Taken, connected, handed_over
from mirrord.tracer import attachable
from mirrord.tracer.notified import NotifyEngine


class ByKeeper:
    """The processes that keepers have lent to a session."""

    def __init__(
        self,
        options: AttachOptions,
        engine: NotifyEngine,
        *,
        directory: SessionDirectory,
        orders: socket.socket,
        sayings: Sayings,
        end: Callable[[], None],
    ) -> None:
        """``orders`` is the channel to the keeper of what has none yet, ``end`` ends the session."""
        self._options: Final = options
        self.engine: Final = engine
        self._directory: Final = directory
        self._orders: Final = orders
        self._sayings: Final = sayings
        self._end: Final = end
        self._processes: Final[dict[int, Taken]] = {}
        self._ends: Final[dict[Taken, select.epoll]] = {}

    @property
    def held(self) -> Iterable[int]:
        """The processes that have not ended."""
        return self._processes

    async def attach(self, table: CompleteTable, remember: Callable[[int], None]) -> None:
        """Bring the process under the session, and its descendants if asked; raise AttachError."""
        self.engine.interrupted.trapped = table.traps
        self._attach(self._options.pid, table, remember)
        if self._options.descendants:
            self._attach_descendants(table, remember)
        # the keeper ends now if it has got nothing to keep
        self._orders.close()

    async def let_go(self) -> None:
        """Continue what is held; what then is not answered yet, the keeper answers."""
        self.engine.let_go()

    def close(self) -> None:
        """Do nothing: the keepers tell, when this process has ended."""

    def _attach(self, pid: int, table: CompleteTable, remember: Callable[[int], None]) -> None:
        remember(pid)
        keeper = doors.connect(pid)
        if keeper is None:
            threads, stopped = ordering.order(self._orders, pid, table.filter, table.traps)
            keeper = connected(pid)
            count = f"{threads} thread{'s' * (threads > 1)}"
            said = f"process {pid}: {count}, stopped for {stopped * 1000:.1f} ms"
        else:
            said = f"process {pid}: its keeper has handed it over"
        process = Taken.over(pid, keeper, self._directory)
        self._processes[pid] = process
        errands = Errands(process, self._end, self._sayings.warn)
        self.engine.serve(process.listener, table.handlers, ledger=process.ledger, itself=errands.carry_out)
        self._watch(process)
        self._sayings.detail(said)

    def _attach_descendants(self, table: CompleteTable, remember: Callable[[int], None]) -> None:
        """Bring the children, and theirs, under the session too: those that were there before it have no
        filter yet.
        """
        for pid in list(descendants(self._options.pid)):
            try:
                status = attachable.Status.of(pid)
                if status.seccomp and not os.path.exists(doors.path_of(pid)):
                    # born after its parent came under the filter, which it has too
                    continue
                self._attach(pid, table, remember)
            except AttachError as error:
                if os.path.exists(f"/proc/{pid}"):
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
            replace(process.pid, listener.fd, process.ledger.fd, self.engine.interrupted.trapped)
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
