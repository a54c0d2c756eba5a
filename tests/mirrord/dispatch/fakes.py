"""A program and a session of the tests: what a handler is given, without any tracer or link."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

from mirrord_agent.wire.channel import Channel

from mirrord.config.incoming import IncomingRules
from mirrord.config.load import validate
from mirrord.config.outgoing import DnsRules, OutgoingRules
from mirrord.config.paths import PathRules
from mirrord.dispatch.bound import BoundSockets
from mirrord.dispatch.world import World
from mirrord.link.addresses import Peer
from mirrord.link.connections import Connections
from mirrord.link.datagrams import Datagrams
from mirrord.link.files import RemoteFiles
from mirrord.link.incoming import Incoming
from mirrord.link.lead import Lead
from mirrord.link.located import Located
from mirrord.link.loopback import Loopback
from mirrord.link.names import KnownNames
from mirrord.link.placeholders import Placeholders
from mirrord.link.places import Voice
from mirrord.link.unix import UnixConnections
from mirrord.syscall import Elsewhere, Fault, Gone, Tid, Verdict, Wait

from ..link.agent import FakeAgent, until

PAGE: Final = 0x10000
"""Where the program's memory begins."""
Arguments = tuple[int, int, int, int, int, int]


class Untouchable:
    """Stands for the link in decisions that must not touch it; it never ends."""

    @property
    def closed(self) -> "Untouchable":
        """What is done when it has ended."""
        return self

    def add_done_callback(self, handler: object) -> None:
        """Call nobody."""

    reason = None

    def on_event(self, kind: type, handler: object) -> None:
        """What is told without being asked for is not touching the link."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the link's {name} was used")


class FakeCall:
    """A call of a program whose memory is a few bytes and whose descriptors are ours."""

    def __init__(self, *arguments: int, size: int = 4096) -> None:
        padded = (*(argument % 2**64 for argument in arguments), 0, 0, 0, 0, 0, 0)
        self.args: Arguments = cast("Arguments", padded[:6])
        self.tid = Tid(os.getpid())
        self.memory = bytearray(size)
        self.descriptors: dict[int, int] = {}
        self.paths: dict[int, bytes] = {}
        self.cwd = b"/home/me/project"
        self.foreign = False
        self.other_user = False
        self.privileged = True
        self.watched = True
        self.stand_ins: list[tuple[int, bytes]] = []
        self.gone = False
        self._next = PAGE

    def place(self, data: bytes) -> int:
        """Put bytes into the program's memory; return their address."""
        address = self._next
        self.write(address, data)
        self._next += -(-len(data) // 16) * 16 + 16
        return address

    def room(self, size: int) -> int:
        """Return the address of so many zeros."""
        return self.place(bytes(size))

    def called(self, *arguments: int) -> "FakeCall":
        """Set the arguments, once their addresses are known."""
        self.args = cast("Arguments", (*(argument % 2**64 for argument in arguments), 0, 0, 0, 0, 0, 0)[:6])
        return self

    def here(self, address: int, data: bytes) -> None:
        self.stand_ins.append((address, data))

    def read(self, address: int, size: int) -> bytes:
        self._look()
        start = address - PAGE
        if start < 0 or size < 0 or start + size > len(self.memory):
            raise Fault
        return bytes(self.memory[start : start + size])

    def string(self, address: int) -> bytes:
        self._look()
        start = address - PAGE
        if not 0 <= start < len(self.memory):
            raise Fault
        end = self.memory.find(b"\0", start, start + 4096)
        if end < 0:
            if start + 4096 > len(self.memory):
                raise Fault
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return bytes(self.memory[start:end])

    def write(self, address: int, data: bytes) -> None:
        self.read(address, len(data))
        self.memory[address - PAGE : address - PAGE + len(data)] = data

    def duplicate(self, fd: int) -> int:
        self._look()
        if fd not in self.descriptors:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return os.dup(self.descriptors[fd])

    def stack_pointer(self) -> int:
        return 0

    def descriptor_path(self, fd: int) -> bytes:
        if fd not in self.paths:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self.paths[fd]

    def working_directory(self) -> bytes:
        return self.cwd

    def require_network(self) -> None:
        self._require()

    def require_files(self) -> None:
        self._require()

    def require_user(self) -> None:
        if self.other_user:
            raise Elsewhere("it is another user")

    def has_capability(self, number: int) -> bool:
        return self.privileged

    def carry_out(self, writes: Iterable[tuple[int, bytes]]) -> None:
        """Do what a verdict's writes say; what is empty writes nothing, whatever its address is."""
        for address, data in writes:
            if data:
                self.write(address, data)

    def _require(self) -> None:
        if self.foreign:
            raise Elsewhere("it lives elsewhere")

    def _look(self) -> None:
        if self.gone:
            raise Gone


class SocketCall(FakeCall):
    """A call whose program has one socket, its descriptor 3."""

    def __init__(self, sock: socket.socket, *arguments: int) -> None:
        super().__init__(*arguments)
        self.descriptors[3] = sock.fileno()


@dataclass
class Stage:
    """What a test plays on: one loop that runs when the test says so, and a world."""

    loop: asyncio.AbstractEventLoop
    world: World
    there: FakeAgent | None = None
    forgotten: list[Tid | None] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What the user was told."""
    program: list[socket.socket] = field(default_factory=list)
    """Sockets that the program still has."""

    @property
    def agent(self) -> FakeAgent:
        """The agent, on a stage that has one."""
        assert self.there is not None
        return self.there

    def until(self, condition: Callable[[], Any]) -> None:
        """Let the loop run until something is so."""
        self.loop.run_until_complete(until(condition))

    def find(self, wanted: Located) -> socket.socket | None:
        """Return a duplicate of one of the program's sockets."""
        for sock in self.program:
            if sock.fileno() >= 0 and os.fstat(sock.fileno()).st_ino == wanted.inode:
                return sock.dup()
        return None

    def run(self, verdict: Verdict) -> Verdict:
        """Return what a verdict that waits comes to."""
        assert isinstance(verdict, Wait)

        async def answer() -> Verdict:
            return await asyncio.wait_for(asyncio.ensure_future(verdict.answer()), 10)

        return self.loop.run_until_complete(answer())


class Theatre:
    """Makes stages, and closes what they have opened."""

    def __init__(self, base: Path) -> None:
        self._base: Final = base
        self._loops: Final[list[asyncio.AbstractEventLoop]] = []
        self._loopbacks: Final[list[Loopback]] = []
        self._agents: Final[list[FakeAgent]] = []
        self._stages: Final[list[Stage]] = []

    def stage(
        self,
        configuration: dict[str, Any] | None = None,
        *,
        agent: bool = False,
        hostname: bytes | None = b"pod-1",
        addresses: dict[socket.AddressFamily, str] | None = None,
    ) -> Stage:
        """Return a stage; without an agent nothing on it may touch the link."""
        loop = asyncio.new_event_loop()
        self._loops.append(loop)
        feature = validate({"feature": configuration or {}}, where="test").feature
        there = loop.run_until_complete(_agent()) if agent else None
        link = there.channel if there else cast("Channel", Untouchable())
        lead = Lead(link)
        loopback = Loopback()
        self._loopbacks.append(loopback)
        if there:
            self._agents.append(there)
        stage = Stage(loop, cast("World", None), there)
        self._stages.append(stage)
        stage.world = World(
            ipv6=feature.network.ipv6,
            hostname=hostname,
            addresses={socket.AF_INET: "10.9.9.9"} if addresses is None else addresses,
            paths=PathRules(feature.fs, cwd=b"/home/me/project", home=b"/home/me"),
            outgoing=OutgoingRules(feature.network.outgoing),
            dns=DnsRules(feature.network),
            connections=Connections(loop, lead, loopback, lambda connection: None),
            unix=UnixConnections(loop, lead),
            datagrams=Datagrams(loop, lead, lambda wanted: None, learn=None, resolver=None),
            incoming=_incoming(loop, link, stage, feature.network.incoming.mode),
            bound=BoundSockets(stage.find),
            incoming_rules=IncomingRules(feature.network.incoming),
            files=RemoteFiles(lead, Placeholders(str(self._base / f"fs{len(self._loops)}"))),
            names=KnownNames(),
            forget_thread=stage.forgotten.append,
            forget_threads=lambda: stage.forgotten.append(None),
            inform=stage.said.append,
        )
        return stage

    def close(self) -> None:
        """Close loops and listeners; what is scheduled on a loop is dropped."""
        for loopback in self._loopbacks:
            loopback.close()
        for stage in self._stages:
            datagrams = stage.world.datagrams
            for association in {one.cookie: one for one, _, _ in datagrams.look()}.values():
                datagrams.forget(association)
        for agent in self._agents:
            agent.lose()
        for loop in self._loops:
            with closing(loop):
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0))


def _incoming(
    loop: asyncio.AbstractEventLoop, link: Channel, stage: Stage, mode: Literal["mirror", "steal", "off"]
) -> Incoming | None:
    if mode == "off":
        return None
    return Incoming(loop, link, mode=mode, voice=Voice("pod-1", stage.said.append, stage.said.append))


async def _agent() -> FakeAgent:
    return FakeAgent()


REMOTE: Final = Peer("10.1.2.3", 80)
REMOTE6: Final = Peer("2001:db8::1", 80)
