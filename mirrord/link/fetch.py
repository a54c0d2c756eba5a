"""Fetching the content of remote files into their placeholders."""

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from mirrord_agent.wire.channel import Channel, ChannelClosed, Data, Stream, StreamReset
from mirrord_agent.wire.messages import Attributes, FileOpened, OpenFile

from mirrord.link.ask import LINK_LOST, ask, error
from mirrord.link.lead import Lead
from mirrord.link.placeholders import Content, Placeholders
from mirrord.link.progress import Progress, Tell, size_text


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file as a program wants to open it."""

    path: bytes
    flags: int = 0
    """Those that decide on the path."""
    base: bytes | None = None
    resolve: int = 0


@dataclass(slots=True)
class _Fetch:
    """A file on its way, and how many wait for it."""

    task: "asyncio.Task[tuple[Attributes, bytes | None]]"
    waiting: int = 0
    opened: bool = False
    """Whether a program waits for it, or has."""


class Fetches:
    """What is being fetched; each file once, however many want it."""

    def __init__(self, lead: Lead, placeholders: Placeholders, *, inform: Tell, warn: Tell) -> None:
        self._lead: Final = lead
        self._placeholders: Final = placeholders
        self._inform: Final = inform
        self._warn: Final = warn
        self._under_way: Final[dict[Wanted, _Fetch]] = {}
        self.watch: Callable[[bytes, int, bool], None] | None = None
        """Is told of each file that was opened, by :meth:`tell`."""

    async def get(self, wanted: Wanted, *, ahead: bool = False) -> tuple[Attributes, bytes | None]:
        """Return a file's attributes, and its placeholder with all content in it; None for a directory.

        Raise OSError. What nobody waits for any more is not fetched any further. Nothing is said of what is
        fetched ``ahead``, until a program waits for it, too.
        """
        fetch = self._under_way.get(wanted)
        if fetch is None:
            fetch = self._under_way[wanted] = _Fetch(asyncio.ensure_future(self._fetch(wanted)))
        fetch.waiting += 1
        fetch.opened = fetch.opened or not ahead
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiting -= 1
            if not fetch.waiting:
                fetch.task.cancel()
                del self._under_way[wanted]

    async def _fetch(self, wanted: Wanted) -> tuple[Attributes, bytes | None]:
        while True:
            channel = await self._lead.ready()
            try:
                return await self._fetch_from(channel, wanted)
            except OSError:
                if not self._lead.outlives(channel):
                    raise

    async def _fetch_from(self, channel: Channel, wanted: Wanted) -> tuple[Attributes, bytes | None]:
        known = self._placeholders.content(wanted.path) if wanted.base is None else None
        async with _stream(channel) as stream:
            request = OpenFile(
                stream=stream.id,
                path=wanted.path,
                flags=wanted.flags,
                base=wanted.base,
                resolve=wanted.resolve,
                have=known.version if known is not None else None,
                sure=known is None or known.settled,
                digest=known.digest.digest() if known is not None else None,
            )
            opened = await ask(channel, request, FileOpened)
            if self._is_opened(wanted):
                self.tell(wanted.path, opened.attributes.size, here=opened.unchanged)
            if stat.S_ISDIR(opened.attributes.mode):
                return opened.attributes, None
            placeholder = await self._take(wanted, opened, known, stream)
            self._placeholders.asked(wanted.path, opened.attributes)
            return opened.attributes, placeholder

    def tell(self, path: bytes, size: int, *, here: bool) -> None:
        """Tell who watches that a program has opened a file, and whether it was here already."""
        if self.watch is not None:
            self.watch(path, size, here)

    def _is_opened(self, wanted: Wanted) -> bool:
        fetch = self._under_way.get(wanted)
        return fetch is not None and fetch.opened

    async def _take(self, wanted: Wanted, opened: FileOpened, known: Content | None, stream: Stream) -> bytes:
        path, attributes, placeholders = wanted.path, opened.attributes, self._placeholders
        if opened.unchanged or (attributes.size and placeholders.has(attributes)):
            return placeholders.path(path, attributes)
        self._make_room(wanted, attributes.size - opened.offset)
        # only now: making room may have taken away what the rest would have been appended to
        placeholder = placeholders.path(path, attributes)
        if not opened.offset:
            placeholder = placeholders.empty(path, attributes)
        elif known is None or not placeholders.complete(placeholder):
            raise error(errno.EIO)
        digest = known.digest.copy() if opened.offset and known is not None else hashlib.blake2b()
        tell = partial(self._tell, wanted)
        async with Progress(tell, path, attributes.size) as progress:
            size = await self._fill(placeholder, stream, digest, opened.offset, progress)
        placeholders.filled(attributes, Content(attributes.version(), opened.settled, digest, size))
        placeholders.dress(placeholder, attributes)
        return placeholder

    def _tell(self, wanted: Wanted, text: str) -> None:
        if self._is_opened(wanted):
            self._inform(text)

    def _make_room(self, wanted: Wanted, size: int) -> None:
        try:
            self._placeholders.make_room(size)
        except OSError as failure:
            if self._is_opened(wanted):
                self._tell_of_space(wanted.path, failure)
            raise

    def _tell_of_space(self, path: bytes, failure: OSError) -> None:
        if failure.errno == errno.ENOSPC:
            limit = size_text(self._placeholders.space.limit)
            self._warn(
                f"there is no room here for {os.fsdecode(path)} of the target: remote files that are open "
                f"take up to {limit}; set MIRRORD_FS_SPACE for more, "
                "or MIRRORD_FS_DIRECTORY to put them on a disk"
            )
        elif failure.errno == errno.EFBIG:
            self._warn(
                f"{os.fsdecode(path)} of the target is longer than a file may be here: "
                "raise that limit (ulimit -f)"
            )

    async def _fill(
        self,
        placeholder: bytes,
        stream: Stream,
        digest: "hashlib.blake2b",
        at: int,
        progress: "Progress",
    ) -> int:
        """Write what comes; return where it ends."""
        reader = stream.reader()
        with _Target(placeholder, at) as target:
            try:
                while piece := await reader.read():
                    target.write(piece)
                    digest.update(piece)
                    progress.done = target.at
            except StreamReset as reset:
                raise error(reset.errno or errno.EIO) from reset
            except ChannelClosed as closed:
                raise error(LINK_LOST) from closed
            except OSError as failure:
                self._tell_of_space(progress.path, failure)
                raise
            target.finish()
            return target.at


@asynccontextmanager
async def _stream(channel: Channel) -> AsyncIterator[Stream]:
    stream = channel.open_stream()
    try:
        yield stream
    finally:
        if not stream.closed:
            stream.reset()


class _Target:
    """Writes a file from some place on; what is all zeros becomes a hole."""

    def __init__(self, path: bytes, at: int) -> None:
        self._mode: Final = stat.S_IMODE(os.lstat(path).st_mode)
        self._path: Final = path
        self.at: int = at

    def __enter__(self) -> "_Target":
        # the remote file's mode may forbid even the owner to write
        os.chmod(self._path, 0o600)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.fchmod(self._fd, self._mode)
        os.close(self._fd)

    def write(self, piece: Data) -> None:
        """Write one piece."""
        view = memoryview(piece)
        if bytes(view).count(0) == len(view):
            self.at += len(view)
            return
        while view:
            written = os.pwrite(self._fd, view, self.at)
            self.at += written
            view = view[written:]

    def finish(self) -> None:
        """Make the file as long as what was written, a hole at its end included."""
        os.ftruncate(self._fd, self.at)
