"""Remote files on this machine: placeholders, and their content once it has been fetched.

Each remote file that was looked at has a *placeholder* in the session's tree, at the same path: its device
and inode numbers are the ones that the program sees, so that ``stat`` and a native ``fstat`` agree on
identity. Opening a file fetches it into its placeholder, once per version of the file; a new version gets a
new placeholder, and who has the old one open keeps it.
"""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from mirrord_agent.wire.channel import Channel, ChannelClosed, RequestFailed, Stream, StreamReset
from mirrord_agent.wire.messages import (
    Access,
    Attributes,
    Done,
    FileOpened,
    Link,
    ListDirectory,
    Listing,
    Message,
    OpenFile,
    ReadLink,
    Request,
    Stat,
)

from mirrord.link.placeholders import Identity, Placeholders

LINK_LOST: Final = errno.EIO
"""What a file call gets when the agent is gone, as on a network file system (intro(2))."""
_PATH_MAX: Final = 4096
ReplyT = TypeVar("ReplyT", bound=Message)


@dataclass(slots=True)
class _Fetch:
    """A file on its way, and how many wait for it."""

    task: asyncio.Task[tuple[Attributes, bytes]]
    waiting: int = 0


class RemoteFiles:
    """The target's files, by absolute path; for the loop's thread, but for :attr:`Placeholders.root`."""

    def __init__(self, channel: Channel, placeholders: Placeholders) -> None:
        self.placeholders: Final = placeholders
        self._channel: Final = channel
        self.watch: Callable[[bytes, int, bool], None] | None = None
        """Is told of each file that was opened: its path, its size, whether it was here already."""
        self._fetching: Final[dict[tuple[bytes, bool], _Fetch]] = {}

    async def stat(self, path: bytes, *, follow: bool) -> tuple[Attributes, Identity]:
        """Return a file's attributes and the identity of its placeholder; raise OSError."""
        attributes = await self._ask(Stat(path=_checked(path), follow=follow), Attributes)
        return attributes, self.placeholders.identity(path, attributes)

    async def read_link(self, path: bytes) -> bytes:
        """Return what a symbolic link holds; raise OSError."""
        return (await self._ask(ReadLink(path=_checked(path)), Link)).target

    async def access(self, path: bytes, mode: int, *, follow: bool, effective: bool) -> None:
        """Check what the target may do with a file; raise OSError."""
        await self._ask(Access(path=_checked(path), mode=mode, follow=follow, effective=effective), Done)

    async def open(self, path: bytes, flags: int) -> int:
        """Return a descriptor of its own for a remote file that is here in full; raise OSError.

        A file that several callers want at once is fetched once, and no further when nobody waits for it.
        """
        attributes, placeholder = await self._shared(path, follow=not flags & os.O_NOFOLLOW)
        if flags & os.O_DIRECTORY and not stat.S_ISDIR(attributes.mode):
            raise _error(errno.ENOTDIR)
        return os.open(placeholder, flags & ~(os.O_NOFOLLOW | os.O_CREAT) | os.O_CLOEXEC)

    async def read(self, path: bytes) -> bytes:
        """Return the content of a small file; raise OSError."""
        fd = await self.open(path, os.O_RDONLY)
        with open(fd, "rb") as stream:
            return stream.read()

    async def _shared(self, path: bytes, *, follow: bool) -> tuple[Attributes, bytes]:
        key = (_checked(path), follow)
        fetch = self._fetching.get(key)
        if fetch is None:
            fetch = self._fetching[key] = _Fetch(asyncio.ensure_future(self._fetch(path, follow=follow)))
        fetch.waiting += 1
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiting -= 1
            if not fetch.waiting:
                fetch.task.cancel()
                del self._fetching[key]

    async def _fetch(self, path: bytes, *, follow: bool) -> tuple[Attributes, bytes]:
        async with self._stream() as stream:
            request = OpenFile(
                stream=stream.id, path=path, follow=follow, have=self.placeholders.version(path)
            )
            opened = await self._ask(request, FileOpened)
            attributes = opened.attributes
            if self.watch is not None:
                self.watch(path, attributes.size, opened.unchanged)
            if stat.S_ISDIR(attributes.mode):
                return attributes, await self._skeleton(path)
            if opened.unchanged:
                return attributes, self.placeholders.path(path, attributes)
            placeholder = self.placeholders.empty(path, attributes)
            await self._fill(stream, placeholder, attributes)
            self.placeholders.filled(path, attributes)
            return attributes, placeholder

    async def _fill(self, stream: Stream, placeholder: bytes, attributes: Attributes) -> None:
        reader = stream.reader()
        with open(placeholder, "wb", buffering=0) as target:
            try:
                while piece := await reader.read():
                    target.write(piece)
            except StreamReset as error:
                raise _error(error.errno or errno.EIO) from error
            except ChannelClosed as closed:
                raise _error(LINK_LOST) from closed
        self.placeholders.dress(placeholder, attributes)

    async def _skeleton(self, path: bytes) -> bytes:
        """Return a directory that holds placeholders of the right names and types."""
        after: bytes | None = None
        while True:
            listing = await self._ask(ListDirectory(path=path, after=after), Listing)
            directory = self.placeholders.path(path, listing.attributes)
            for name, attributes in listing.entries:
                self.placeholders.path(os.path.join(path, name), attributes)
            if not listing.more:
                return directory
            after = listing.entries[-1][0]

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[Stream]:
        stream = self._channel.open_stream()
        try:
            yield stream
        finally:
            if not stream.closed:
                stream.reset()

    async def _ask(self, request: Request, reply: type[ReplyT]) -> ReplyT:
        try:
            return await self._channel.request(request, reply)
        except RequestFailed as failure:
            raise _error(failure.errno) from failure
        except ChannelClosed as closed:
            raise _error(LINK_LOST) from closed


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _checked(path: bytes) -> bytes:
    """Return a path that a kernel takes; raise OSError ENAMETOOLONG, which it counts the NUL for."""
    if len(path) >= _PATH_MAX:
        raise _error(errno.ENAMETOOLONG)
    return path
