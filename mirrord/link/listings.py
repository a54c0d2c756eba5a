"""Bringing directories of the target into the cache, and their skeletons onto this machine."""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from typing import Final

from mirrord_agent.wire.messages import Changed, Done, Entry, ListDirectory, Listing, Unwatch

from mirrord.link.ask import ask
from mirrord.link.cache import Cache, Directory
from mirrord.link.lead import Lead
from mirrord.link.placeholders import Placeholders
from mirrord.link.progress import Tell

_MOST_UNLISTABLE: Final = 4096
_MOST_PAGES: Final = 8
"""Pages of a directory that are brought because of one name in it."""
_MOST_UNWATCHED: Final = 10_000
_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR)
_NO_LISTING: Final = (errno.EACCES, errno.EIO)


def _nothing(_: set[bytes]) -> None:
    """Do nothing."""


class Listings:
    """Lists each directory once for all that ask."""

    def __init__(self, lead: Lead, placeholders: Placeholders, *, detail: Tell) -> None:
        self.cache: Final = Cache()
        self.xattr_errnos: Final[dict[tuple[int, int, bytes], int]] = {}
        """What asking for an attribute gives that a file does not have, by device, type and name."""
        self._lead: Final = lead
        self._placeholders: Final = placeholders
        self._detail: Final = detail
        self._under_way: Final[dict[bytes, asyncio.Task[None]]] = {}
        self._unlistable: Final[dict[bytes, None]] = {}
        """Directories that there is no use in listing: they cannot be watched, or may not be read."""
        self._background: Final[set[asyncio.Task[None]]] = set()
        self.on_changed: Callable[[set[bytes]], None] = _nothing
        """Called with directories whose entries have changed."""
        lead.on_event(Changed, self._changed)
        lead.on_moved(self._moved)

    def _changed(self, change: Changed) -> None:
        concerned = self.cache.changed(change)
        self._unlistable.clear()
        self.on_changed(concerned)

    def _moved(self) -> None:
        """Know nothing of the directories of a pod whose place another has taken."""
        known = set(self.cache.directories)
        self.cache.reset()
        self.xattr_errnos.clear()
        self._unlistable.clear()
        self.on_changed(known)

    async def _list(self, request: ListDirectory) -> Listing:
        """Return a listing of the pod that leads when it has come: its watches are known to that agent only.

        Raise OSError.
        """
        while True:
            channel = await self._lead.ready()
            try:
                listing = await ask(channel, request, Listing)
            except OSError:
                if not self._lead.outlives(channel):
                    raise
            else:
                if channel is self._lead.channel:
                    return listing

    # What is asked about one name.

    async def learn(self, path: bytes) -> None:
        """Have the directory of a path listed if it is not known, and those that lead to it by a link.

        Raise OSError ENOENT or ENOTDIR where there is no such directory.
        """
        if b".." in path.split(b"/"):
            return
        parent = os.path.dirname(os.path.normpath(path))
        if parent in self.cache.directories or parent in self._unlistable:
            return
        task = self._under_way.get(parent)
        if task is None:
            task = self._under_way[parent] = asyncio.ensure_future(self._learn(parent))
            task.add_done_callback(lambda _: self._under_way.pop(parent, None))
        await asyncio.shield(task)

    async def _learn(self, parent: bytes) -> None:
        try:
            listing = await self._page_after_page(parent)
        except OSError as failure:
            if failure.errno in _NOT_THERE and parent != b"/":
                await self.learn(parent)
                raise
            if failure.errno not in _NO_LISTING:
                raise
            self._give_up(parent)
            return
        if listing.watch is None:
            self._give_up(parent)
        elif listing.attributes.real is not None and parent != b"/":
            # the way there is by a link, which is an entry of the directory above
            await self.learn(parent)

    async def _page_after_page(self, path: bytes) -> Listing:
        """List a watched directory to its end, unless it is huge; return the first page."""
        self.cache.begin()
        try:
            page = first = await self._first_page(path, only_watched=True)
            directory = self.cache.directories.get(first.attributes.real or path)
            for _ in range(_MOST_PAGES - 1):
                if directory is None or not page.more:
                    break
                page = await self._list(ListDirectory(path=directory.path, after=page.entries[-1].name))
                self.cache.go_on(directory, page)
        finally:
            self.cache.end()
        return first

    def _give_up(self, path: bytes) -> None:
        if len(self._unlistable) >= _MOST_UNLISTABLE:
            self._unlistable.clear()
        self._unlistable[path] = None

    def learn_later(self, path: bytes) -> None:
        """Have the directory of a path listed, for those who ask next."""
        task = asyncio.ensure_future(self._learned(path))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _learned(self, path: bytes) -> None:
        try:
            await self.learn(path)
        except OSError:
            # who asks gets the errno
            return

    async def pending(self, path: bytes) -> None:
        """Wait for a listing of the directory of a path that is under way."""
        task = self._under_way.get(os.path.dirname(path))
        if task is not None:
            await asyncio.wait([task])

    async def _first_page(self, path: bytes, *, only_watched: bool) -> Listing:
        self.cache.begin()
        try:
            listing = await self._list(ListDirectory(path=path, only_watched=only_watched))
            if listing.exhausted:
                self._detail(
                    "the target cannot watch more directories (fs.inotify.max_user_watches): "
                    "they are asked about each time"
                )
            self.cache.take(listing.attributes.real or path, listing)
            for kind, name, number in listing.missing:
                self.xattr_errnos[listing.attributes.dev, kind, name] = number
        finally:
            self.cache.end()
        self._unwatch()
        return listing

    def _unwatch(self) -> None:
        numbers = self.cache.unused()
        for at in range(0, len(numbers), _MOST_UNWATCHED):
            task = asyncio.ensure_future(self._ask_to_unwatch(numbers[at : at + _MOST_UNWATCHED]))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _ask_to_unwatch(self, numbers: tuple[int, ...]) -> None:
        try:
            await ask(self._lead.channel, Unwatch(watches=numbers), Done)
        except OSError:
            # the link is gone, and with it everything that watches
            return

    # Whole directories.

    async def skeleton(self, path: bytes) -> tuple[bytes, bytes]:
        """Return a directory that holds placeholders of the right names and types, and its canonical path.

        Raise OSError.
        """
        known = self.cache.directories.get(path)
        if known is not None and known.in_step and known.attributes is not None:
            return self._placeholders.path(path, known.attributes), path
        self.cache.begin()
        try:
            listing = await self._first_page(path, only_watched=False)
            real = listing.attributes.real or path
            directory = self.cache.directories.get(real)
            entries = list(listing.entries)
            while listing.more:
                listing = await self._list(ListDirectory(path=real, after=entries[-1].name))
                entries += listing.entries
                if directory is not None:
                    self.cache.go_on(directory, listing)
        finally:
            self.cache.end()
        return self._arrange(real, listing, entries, directory), real

    def _arrange(
        self, real: bytes, listing: Listing, entries: list[Entry], directory: Directory | None
    ) -> bytes:
        placeholders = self._placeholders
        placeholder = placeholders.path(real, listing.attributes)
        below = b"" if real == b"/" else real
        placeholders.arrange(placeholder, [entry.name for entry in entries])
        for entry in entries:
            placeholders.path(below + b"/" + entry.name, entry.attributes)
        placeholders.dress(placeholder, listing.attributes)
        if directory is not None:
            directory.in_step = directory.complete and None not in directory.names.values()
        return placeholder


def is_directory(entry: Entry | None) -> bool:
    """Tell whether an entry, or a directory itself, is a directory."""
    return entry is None or stat.S_ISDIR(entry.attributes.mode)
