"""Answers the supervisor's requests."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from mirrord_agent.content import ContentSender, is_settled, known_part
from mirrord_agent.datagrams import open_udp
from mirrord_agent.directories import Directories
from mirrord_agent.files import Files
from mirrord_agent.sockets import UnixSockets, open_tcp
from mirrord_agent.target import Target
from mirrord_agent.watches import Watches, is_of_this_machine
from mirrord_agent.wire import messages
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.messages import Reply, Request

if TYPE_CHECKING:
    from mirrord_agent.incoming import Incoming


class RequestHandler:
    """One client's requests."""

    def __init__(self, target: Target, files: Files) -> None:
        self._target: Final = target
        self._files: Final = files
        self._watches: Final = Watches()
        self._directories: Final = Directories(files, self._watches)
        self._unix: Final = UnixSockets(target, files)
        self._incoming: Incoming | None = None
        self._counts: Final[Counter[str]] = Counter()
        self._most_in_flight: int = 0
        self._sending: Final[set[asyncio.Task[None]]] = set()
        self._answers: Final[dict[type[Request], Callable[[Any, Channel], Reply | Awaitable[Reply]]]] = {
            messages.GetEnvironment: self._environment,
            messages.GetHostname: self._hostname,
            messages.GetStatistics: self._statistics,
            messages.OpenTcp: open_tcp,
            messages.OpenUdp: open_udp,
            messages.OpenUnix: self._unix.open,
            messages.OpenFile: self._open_file,
            messages.Stat: self._stat,
            messages.ReadLink: self._read_link,
            messages.Access: self._access,
            messages.ListDirectory: self._list,
            messages.Subscribe: self._subscribe,
            messages.Unsubscribe: self._unsubscribe,
            messages.Unwatch: self._unwatch,
            messages.GetFileSystem: self._file_system,
            messages.GetXattr: self._xattr,
            messages.ListXattrs: self._xattrs,
        }

    def __call__(self, request: Request, channel: Channel) -> Reply | Awaitable[Reply]:
        """Answer one request, at once where nothing has to be waited for."""
        self._counts[request.type] += 1
        self._most_in_flight = max(self._most_in_flight, channel.requests_served + 1)
        return self._answers[type(request)](request, channel)

    def client_away(self) -> None:
        """Leave the target's clients to the target until :meth:`client_back`."""
        if self._incoming is not None:
            self._incoming.pause()

    def client_back(self) -> None:
        """Go on where the client was left."""
        if self._incoming is not None:
            self._incoming.go_on()

    async def drained(self) -> None:
        """Wait until what was begun for clients of the target is done; nothing new begins."""
        if self._incoming is not None:
            await self._incoming.drained()

    async def _environment(self, request: messages.GetEnvironment, channel: Channel) -> messages.Environment:
        return messages.Environment(variables=self._target.environment)

    async def _hostname(self, request: messages.GetHostname, channel: Channel) -> messages.Hostname:
        return messages.Hostname(name=hostname())

    async def _statistics(self, request: messages.GetStatistics, channel: Channel) -> messages.Statistics:
        return messages.Statistics(
            requests=dict(self._counts),
            in_flight=channel.requests_served,
            most_in_flight=self._most_in_flight,
            streams_opened=channel.streams_opened,
            streams_open=channel.open_streams,
            resident_bytes=_resident_bytes(),
            incoming={} if self._incoming is None else self._incoming.counts,
        )

    async def _open_file(self, request: messages.OpenFile, channel: Channel) -> messages.FileOpened:
        stream = channel.stream(request.stream)
        attributes, fd = await self._files.run(self._files.open_content, request)
        if fd is None:
            stream.fin()
            return messages.FileOpened(attributes=attributes)
        opened = await self._compared(request, attributes, fd)
        if opened.unchanged or stream.closed:
            os.close(fd)
            stream.fin()
        else:
            sender = ContentSender(self._files, fd, stream, size=attributes.size, begin=opened.offset)
            task = channel.loop.create_task(sender.send())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return opened

    async def _compared(
        self, request: messages.OpenFile, attributes: messages.Attributes, fd: int
    ) -> messages.FileOpened:
        """Compare an open file with what the requester has of it."""
        try:
            # a file of /proc has a content that its size and times do not tell of
            same = request.sure and attributes.version() == request.have
            unchanged = same and (attributes.size > 0 or is_of_this_machine(fd))
            offset = 0 if unchanged else await self._files.run(known_part, fd, attributes, request)
        except BaseException:
            os.close(fd)
            raise
        return messages.FileOpened(
            attributes=attributes, unchanged=unchanged, offset=offset, settled=is_settled(attributes)
        )

    async def _stat(self, request: messages.Stat, channel: Channel) -> messages.Attributes:
        return await self._files.run(self._files.stat, request)

    async def _read_link(self, request: messages.ReadLink, channel: Channel) -> messages.Link:
        return messages.Link(target=await self._files.run(self._files.read_link, request.path))

    async def _access(self, request: messages.Access, channel: Channel) -> messages.Done:
        await self._files.run(
            self._files.access, request.path, request.mode, request.follow, request.effective
        )
        return messages.Done()

    async def _list(self, request: messages.ListDirectory, channel: Channel) -> messages.Listing:
        return await self._files.run(
            self._directories.listing, request.path, request.after, request.only_watched
        )

    async def _subscribe(self, request: messages.Subscribe, channel: Channel) -> messages.Done:
        if self._incoming is None:
            # HTTP, its filters and rules are a fifth of the agent's memory, and few clients serve anything
            from mirrord_agent.incoming import Incoming

            self._incoming = Incoming(reserved=self._target.reserved)
        return await self._incoming.subscribe(request, channel)

    async def _unsubscribe(self, request: messages.Unsubscribe, channel: Channel) -> messages.Done:
        if self._incoming is not None:
            await self._incoming.unsubscribe(request, channel)
        return messages.Done()

    async def _unwatch(self, request: messages.Unwatch, channel: Channel) -> messages.Done:
        self._watches.drop(request.watches)
        return messages.Done()

    async def _file_system(self, request: messages.GetFileSystem, channel: Channel) -> messages.FileSystem:
        return await self._files.run(self._files.file_system, request.path)

    async def _xattr(self, request: messages.GetXattr, channel: Channel) -> messages.Value:
        value = await self._files.run(self._files.xattr, request.path, request.follow, request.name)
        return messages.Value(value=value)

    async def _xattrs(self, request: messages.ListXattrs, channel: Channel) -> messages.Value:
        return messages.Value(value=await self._files.run(self._files.xattrs, request.path, request.follow))

    def start(self, channel: Channel) -> None:
        """Tell the channel of changes from here on, until it closes."""
        self._watches.start(channel.emit)
        channel.closed.add_done_callback(lambda _: self._watches.close())


def hostname() -> bytes:
    """Return the host name of the UTS namespace that the agent has joined, as it is now."""
    return os.fsencode(socket.gethostname())


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
