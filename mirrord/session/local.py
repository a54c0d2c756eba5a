"""A session without a target: its program's calls are looked at, and all of them run here."""

import asyncio
import os

from mirrord.dispatch.table import Table
from mirrord.dispatch.watch import Watch
from mirrord.session.directory import SESSION_VARIABLE
from mirrord.session.engines import make_engine
from mirrord.session.run import Run
from mirrord.session.watching import Watching
from mirrord.session.worlds import Surroundings


class LocalRun(Run):
    """The supervisor's work where nothing is remote: no agent, no link."""

    def serve(self) -> None:
        """Serve until the last process of the program has ended."""
        with asyncio.Runner() as runner:
            runner.run(self._look())
        self._chain.directory.remove()
        self._tell_end()

    async def _look(self) -> None:
        self._over = asyncio.get_running_loop().create_future()
        self._engine = engine = make_engine(self._settings, self._sayings)
        watch = Watch(
            forget_thread=engine.forget_thread,
            forget_threads=engine.forget_threads,
            returning_from_signal=engine.returning_from_signal,
        )
        table = Table(watch.rows(), engine.trap, engine.own_rows)
        environment = {**os.environb, SESSION_VARIABLE.encode(): self._chain.directory.id.encode()}
        await self._launch(engine, environment, table)
        self._watching = Watching(
            self._watched(Surroundings(self._chain.options.program)),
            self._settings,
            engine=engine,
            remote=None,
            trapped=list(table.handlers),
            stop=self._stop,
            results=self._chain.options.results,
        )
        self._begin(engine)
        await self._over
        await self._watching.close(self._status)
