"""Answers the supervisor's requests."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from mirrord_agent.content import ContentSender
from mirrord_agent.datagrams import open_udp
from mirrord_agent.files import Files
from mirrord_agent.incoming import Incoming
from mirrord_agent.sockets import UnixSockets, open_tcp
from mirrord_agent.target import Target
from mirrord_agent.wire import messages
from mirrord_agent.wire.channel import Channel
from mirrord_agent.wire.messages import Reply, Request


class RequestHandler:
    """One client's requests."""

    def __init__(self, target: Target, files: Files) -> None:
        self._target: Final = target
        self._files: Final = files
        self._unix: Final = UnixSockets(target, files)
        self._incoming: Final = Incoming(reserved=target.reserved)
        self._counts: Final[Counter[str]] = Counter()
        self._most_in_flight: int = 0
        self._sending: Final[set[asyncio.Task[None]]] = set()
        self._answers: Final[dict[type[Request], Callable[[Any, Channel], Awaitable[Reply]]]] = {
            messages.GetEnvironment: self._environment,
            messages.GetHostname: self._hostname,
            messages.GetStatistics: self._statistics,
            messages.OpenTcp: open_tcp,
            messages.OpenUdp: self._udp,
            messages.OpenUnix: self._unix.open,
            messages.OpenFile: self._open_file,
            messages.Stat: self._stat,
            messages.ReadLink: self._read_link,
            messages.Access: self._access,
            messages.ListDirectory: self._list,
            messages.Subscribe: self._incoming.subscribe,
            messages.Unsubscribe: self._incoming.unsubscribe,
        }

    async def __call__(self, request: Request, channel: Channel) -> Reply:
        """Answer one request."""
        self._counts[request.type] += 1
        self._most_in_flight = max(self._most_in_flight, channel.requests_served)
        return await self._answers[type(request)](request, channel)

    async def drained(self) -> None:
        """Wait until what was begun for clients of the target is done; nothing new begins."""
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
            incoming=self._incoming.counts,
        )

    async def _udp(self, request: messages.OpenUdp, channel: Channel) -> messages.Opened:
        return open_udp(request, channel)

    async def _open_file(self, request: messages.OpenFile, channel: Channel) -> messages.FileOpened:
        stream = channel.stream(request.stream)
        attributes, fd = await self._files.run(self._files.open_content, request.path, request.follow)
        unchanged = fd is not None and attributes.version() == request.have
        if fd is None or unchanged or stream.closed:
            if fd is not None:
                os.close(fd)
            stream.fin()
        else:
            task = channel.loop.create_task(ContentSender(self._files, fd, attributes.size, stream).send())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return messages.FileOpened(attributes=attributes, unchanged=unchanged)

    async def _stat(self, request: messages.Stat, channel: Channel) -> messages.Attributes:
        return await self._files.run(self._files.attributes, request.path, request.follow)

    async def _read_link(self, request: messages.ReadLink, channel: Channel) -> messages.Link:
        return messages.Link(target=await self._files.run(self._files.read_link, request.path))

    async def _access(self, request: messages.Access, channel: Channel) -> messages.Done:
        await self._files.run(
            self._files.access, request.path, request.mode, request.follow, request.effective
        )
        return messages.Done()

    async def _list(self, request: messages.ListDirectory, channel: Channel) -> messages.Listing:
        return await self._files.run(self._files.listing, request.path, request.after)


def hostname() -> bytes:
    """Return the host name of the UTS namespace that the agent has joined, as it is now."""
    return os.fsencode(socket.gethostname())


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
