"""Keeping files up to date that a program watches but does not open again, such as a log that grows.

Changes of remote files are not told to the program (inotify_add_watch(2) fails with ENOSYS), so it looks by
itself: at the descriptor that it has. What has changed in a directory that it wanted to watch is therefore
fetched again, if it was fetched before; what has only grown grows under the descriptor.
"""

import asyncio
import os
import stat
from contextlib import suppress
from functools import partial
from typing import Final

from mirrord.link.fetch import Fetches, Wanted
from mirrord.link.listings import Listings
from mirrord.link.placeholders import Placeholders

_PAUSE: Final = 0.2
"""Seconds between two looks at a directory that keeps changing."""
_ROUNDS: Final = 2
"""What changes while it is being looked at is seen by the next look."""


class Following:
    """The directories that a program wanted to watch."""

    def __init__(self, listings: Listings, fetches: Fetches, placeholders: Placeholders) -> None:
        self._listings: Final = listings
        self._fetches: Final = fetches
        self._placeholders: Final = placeholders
        self._directories: Final[set[bytes]] = set()
        self._hurry: Final = asyncio.Event()
        """Set when somebody waits."""
        self._tasks: Final[dict[bytes, asyncio.Task[None]]] = {}
        listings.on_changed = self._changed

    def begin(self, directory: bytes) -> None:
        """Follow what happens in a directory from here on."""
        self._directories.add(directory)
        self._changed({directory})

    async def caught_up(self, path: bytes) -> None:
        """Wait until what has changed beside a path is here, its own file's rest included.

        A program that finds another file under the name of its log, which was rotated, reads what the old one
        still has, and never looks at it again.
        """
        for _ in range(_ROUNDS):
            if (task := self._tasks.get(os.path.dirname(path))) is None:
                return
            self._hurry.set()
            await asyncio.wait([task])

    def _changed(self, directories: set[bytes]) -> None:
        for directory in directories & self._directories:
            if directory not in self._tasks:
                task = asyncio.ensure_future(self._catch_up(directory))
                self._tasks[directory] = task
                task.add_done_callback(partial(self._done, directory))

    def _done(self, directory: bytes, _: "asyncio.Task[None]") -> None:
        del self._tasks[directory]
        known = self._listings.cache.directories.get(directory)
        if known is not None and None in known.names.values():
            # more has changed meanwhile
            self._changed({directory})

    async def _catch_up(self, directory: bytes) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE):
                await self._hurry.wait()
        self._hurry.clear()
        self._listings.cache.drop(directory)
        try:
            await self._listings.learn(os.path.join(directory, b"x"))
            known = self._listings.cache.directories.get(directory)
            for entry in list(known.names.values()) if known is not None else ():
                if entry is not None and stat.S_ISREG(entry.attributes.mode):
                    path = os.path.join(directory, entry.name)
                    if self._placeholders.is_old(entry.attributes):
                        # by its file, not its name: a log that was rotated goes on under the descriptor, too
                        self._placeholders.asked(path, entry.attributes)
                        await self._fetches.get(Wanted(path))
        except OSError:
            # gone, or not to be read any more: the program finds out when it asks
            return
