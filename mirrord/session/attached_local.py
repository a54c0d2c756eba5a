"""A session without a target on a process that runs already: its calls are looked at, and all run here."""

import asyncio

from mirrord.dispatch.complete import CompleteTable
from mirrord.dispatch.watch import Watch
from mirrord.session.attached import Attached
from mirrord.session.surroundings import surroundings_of


class LocalAttached(Attached):
    """The supervisor's work where nothing is remote: no agent, no link."""

    def serve(self) -> int:
        """Serve until the session or the last process has ended; return the exit code."""
        with asyncio.Runner() as runner:
            runner.run(self._look())
        return self._code

    async def _look(self) -> None:
        over = self._begin()
        watch = Watch(
            forget_thread=self._engine.forget_thread,
            forget_threads=self._engine.forget_threads,
            returning_from_signal=self._engine.returning_from_signal,
        )
        surroundings = surroundings_of(self._options.pid, self._all_processes)
        await self._attach_all(CompleteTable.looking(watch), surroundings, None)
        self._sayings.info(f"process {self._options.pid} is looked at; everything stays local")
        await over
        self._let_go()
        await self._leave()
