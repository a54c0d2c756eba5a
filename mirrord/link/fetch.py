"""Fetching the content of remote files into their placeholders."""

import asyncio
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from mirrord_agent.wire.channel import Channel, ChannelClosed, Data, Stream, StreamReset
from mirrord_agent.wire.messages import Attributes, FileOpened, OpenFile

from mirrord.link.ask import LINK_LOST, ask, error
from mirrord.link.placeholders import Content, Placeholders

_PATIENCE: Final = 1.0
"""Seconds after which the user is told what is waited for."""
_FIRST_PROGRESS: Final = 2.0
"""Seconds from then to the first word of how far it is."""
_PROGRESS: Final = 5.0
Tell = Callable[[str], None]


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


class Fetches:
    """What is being fetched; each file once, however many want it."""

    def __init__(self, channel: Channel, placeholders: Placeholders, *, inform: Tell, warn: Tell) -> None:
        self._channel: Final = channel
        self._placeholders: Final = placeholders
        self._inform: Final = inform
        self._warn: Final = warn
        self._under_way: Final[dict[Wanted, _Fetch]] = {}

    async def get(self, wanted: Wanted) -> tuple[Attributes, bytes | None]:
        """Return a file's attributes, and its placeholder with all content in it; None for a directory.

        Raise OSError. What nobody waits for any more is not fetched any further.
        """
        fetch = self._under_way.get(wanted)
        if fetch is None:
            fetch = self._under_way[wanted] = _Fetch(asyncio.ensure_future(self._fetch(wanted)))
        fetch.waiting += 1
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiting -= 1
            if not fetch.waiting:
                fetch.task.cancel()
                del self._under_way[wanted]

    async def _fetch(self, wanted: Wanted) -> tuple[Attributes, bytes | None]:
        known = self._placeholders.content(wanted.path) if wanted.base is None else None
        async with self._stream() as stream:
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
            opened = await ask(self._channel, request, FileOpened)
            if stat.S_ISDIR(opened.attributes.mode):
                return opened.attributes, None
            placeholder = await self._take(wanted.path, opened, known, stream)
            self._placeholders.asked(wanted.path, opened.attributes)
            return opened.attributes, placeholder

    async def _take(self, path: bytes, opened: FileOpened, known: Content | None, stream: Stream) -> bytes:
        attributes, placeholders = opened.attributes, self._placeholders
        if opened.unchanged or (attributes.size and placeholders.has(attributes)):
            return placeholders.path(path, attributes)
        self._make_room(path, attributes.size - opened.offset)
        # only now: making room may have taken away what the rest would have been appended to
        placeholder = placeholders.path(path, attributes)
        if not opened.offset:
            placeholder = placeholders.empty(path, attributes)
        elif known is None or not placeholders.complete(placeholder):
            raise error(errno.EIO)
        digest = known.digest.copy() if opened.offset and known is not None else hashlib.blake2b()
        async with _Progress(self._inform, path, attributes.size) as progress:
            size = await self._fill(placeholder, stream, digest, opened.offset, progress)
        placeholders.filled(attributes, Content(attributes.version(), opened.settled, digest, size))
        placeholders.dress(placeholder, attributes)
        return placeholder

    def _make_room(self, path: bytes, size: int) -> None:
        try:
            self._placeholders.make_room(size)
        except OSError as failure:
            self._tell_of_space(path, failure)
            raise

    def _tell_of_space(self, path: bytes, failure: OSError) -> None:
        if failure.errno == errno.ENOSPC:
            limit = _size(self._placeholders.space.limit)
            self._warn(
                f"there is no room here for {os.fsdecode(path)} of the target: remote files that are open "
                f"take up to {limit}; set MIRRORD_FS_SPACE for more, "
                "or MIRRORD_FS_DIRECTORY to put them on a disk"
            )

    async def _fill(
        self,
        placeholder: bytes,
        stream: Stream,
        digest: "hashlib.blake2b",
        at: int,
        progress: "_Progress",
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
    async def _stream(self) -> AsyncIterator[Stream]:
        stream = self._channel.open_stream()
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


class _Progress:
    """Tells the user of a fetch that takes long."""

    def __init__(self, inform: Tell, path: bytes, size: int) -> None:
        self.path: Final = path
        self.done: int = 0
        self._inform: Final = inform
        self._size: Final = size
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> "_Progress":
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._begin)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._inform(f"fetching {os.fsdecode(self.path)} ({_size(self._size)}) from the target …")
        self._timer = asyncio.get_running_loop().call_later(_FIRST_PROGRESS, self._go_on)

    def _go_on(self) -> None:
        of = f"{self.done * 100 // self._size:3} % of {_size(self._size)}" if self._size else _size(self.done)
        self._inform(f"{os.fsdecode(self.path)}: {of}")
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS, self._go_on)


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GiB"
