"""A session without a target on a process that runs already: its calls are looked at, and all run here."""

import asyncio

from mirrord.dispatch.complete import CompleteTable
from mirrord.dispatch.watch import Watch
from mirrord.session.attached import Attached
from mirrord.session.holding import everyone
from mirrord.session.surroundings import surroundings_of


class LocalAttached(Attached):
    """The supervisor's work where nothing is remote: no agent, no link."""

    def serve(self) -> int:
        """Serve until the session or the last process has ended; return the exit code."""
        with asyncio.Runner() as runner:
            runner.run(self._look())
        return self._code

    async def _look(self) -> None:
        holder, over = self._hold(), self._begin()
        engine = holder.engine
        watch = Watch(
            forget_thread=engine.forget_thread,
            forget_threads=engine.forget_threads,
            returning_from_signal=engine.returning_from_signal,
        )
        surroundings = surroundings_of(self._options.pid, lambda: everyone(holder))
        await self._attach(holder, CompleteTable.looking(watch, engine.own_rows), surroundings, None)
        self._sayings.info(f"process {self._options.pid} is looked at; everything stays local")
        await over
        await self._let_go(holder)
        await self._leave(holder)
