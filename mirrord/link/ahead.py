"""Fetching small files before they are asked for, in a directory that a program goes through.

``cat *`` and ``grep -r`` list a directory and then open its files, one after another, and each would wait for
a round trip. So from the second file on that is opened of a directory which was listed in full, the next ones
are fetched meanwhile: a few at first, and more as they are opened. What is fetched ahead is found like any
file that is here, by an open that knows from the agent's watch that its version is the present one.
"""

import asyncio
import os
import stat
from collections import deque
from typing import Final

from mirrord_agent.wire.messages import Entry

from mirrord.link.cache import Cache, Directory
from mirrord.link.fetch import Fetches, Wanted
from mirrord.link.placeholders import Placeholders

_SMALL: Final = 64 * 1024
"""Bytes of a file that is fetched ahead."""
_MOST_BYTES: Final = 16 * 2**20
"""Of one directory."""
_AT_ONCE: Final = 64
_FOR_EACH: Final = 8
"""Files that are fetched ahead, at most, for each one that was opened."""


class Ahead:
    """The directory that is gone through now; several programs that take turns in several get less."""

    def __init__(self, cache: Cache, fetches: Fetches, placeholders: Placeholders) -> None:
        self._cache: Final = cache
        self._fetches: Final = fetches
        self._placeholders: Final = placeholders
        self._walk: _Walk | None = None
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._coming: int = 0
        """Bytes on their way."""

    def opened(self, wanted: Wanted) -> None:
        """Take note that a file was opened, whether it had to be fetched or not."""
        folder, name = os.path.split(wanted.path)
        directory = self._cache.directories.get(folder)
        if directory is None or not directory.in_step or wanted.resolve:
            return
        walk = self._walk
        if walk is None or walk.directory is not directory or walk.flags != wanted.flags:
            self._walk = _Walk(directory, wanted.flags, name)
            return
        walk.opened(name)
        self._go_on(walk)

    def _go_on(self, walk: "_Walk") -> None:
        while walk.may_go_on and len(self._tasks) < _AT_ONCE:
            if (entry := walk.next()) is None:
                return
            if self._is_worth_it(entry):
                walk.takes(entry)
                self._coming += entry.attributes.size
                task = asyncio.ensure_future(self._fetch(walk, entry))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _is_worth_it(self, entry: Entry) -> bool:
        attributes = entry.attributes
        return (
            stat.S_ISREG(attributes.mode)
            and entry.steady
            and attributes.size <= _SMALL
            and not self._placeholders.has(attributes)
            and self._placeholders.space.has_room(self._coming + attributes.size)
        )

    async def _fetch(self, walk: "_Walk", entry: Entry) -> None:
        path, size = walk.directory.child(entry.name), entry.attributes.size
        try:
            await self._fetches.get(Wanted(path, walk.flags), ahead=True)
        except OSError:
            # who opens it finds out
            return
        finally:
            self._coming -= size
        self._go_on(walk)


class _Walk:
    """One program's way through a directory."""

    def __init__(self, directory: Directory, flags: int, name: bytes) -> None:
        self.directory: Final = directory
        self.flags: Final = flags
        """Those of the program's opens that decide on the path."""
        self._first: Final = name
        self._opened: int = 1
        self._taken: int = 0
        self._bytes: int = 0
        self._rest: deque[bytes] | None = None

    @property
    def may_go_on(self) -> bool:
        """Whether the program has opened enough for one more, and the directory is what it was."""
        return self.directory.in_step and self._taken < self._opened * _FOR_EACH and self._bytes < _MOST_BYTES

    def opened(self, name: bytes) -> None:
        """Count an open; the second one tells in which direction the program goes."""
        if name == self._first:
            return
        self._opened += 1
        if self._rest is None:
            names = list(self.directory.names)
            if name in self.directory.names and self._first in self.directory.names:
                first, second = names.index(self._first), names.index(name)
                if second < first:
                    names.reverse()
                    second = len(names) - 1 - second
                names = names[second + 1 :] + names[:second]
            self._rest = deque(names)

    def next(self) -> Entry | None:
        """Return the next entry, None when there is none left."""
        while self._rest:
            entry = self.directory.names.get(self._rest.popleft())
            if entry is not None:
                return entry
        return None

    def takes(self, entry: Entry) -> None:
        """Count a file that is fetched ahead."""
        self._taken += 1
        self._bytes += entry.attributes.size
