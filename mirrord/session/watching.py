"""Joins a session to those who watch it: the gate's records, its state, and what it tells of itself."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from mirrord_agent.wire.frames import Data
from mirrord_agent.wire.stream import Tap

from mirrord.config.model import Settings
from mirrord.dispatch.world import World
from mirrord.feed.models import Note, Rules, SessionInfo, State
from mirrord.link.addresses import Peer
from mirrord.link.associations import Association
from mirrord.link.lead import Lead
from mirrord.link.tapping import Flow, Several
from mirrord.session.banner import remote_files, remote_things
from mirrord.session.directory import SessionDirectory
from mirrord.session.exchanges import HttpTap
from mirrord.session.feed import Feed, Session
from mirrord.session.remote import Remote
from mirrord.session.state import dns_note, file_note, state
from mirrord.session.traffic import TrafficTap
from mirrord.session.worlds import Surroundings
from mirrord.tracer.engine import Engine
from mirrord.tracer.recorder import Recorder


@dataclass(frozen=True, slots=True)
class InTarget:
    """What there is to tell of a session that has a target."""

    world: World
    lead: Lead
    target: str
    remote: Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is served, and whom it is told to."""

    directory: SessionDirectory
    front: int
    program: tuple[str, ...]
    pid: int
    surroundings: Surroundings
    feed: socket.socket | None = None
    """The connection to who watches from the beginning."""
    environment: bool = True
    """Whether the program has the target's."""


class Watching:
    """The feed of one session."""

    def __init__(
        self,
        watched: Watched,
        settings: Settings,
        *,
        engine: Engine,
        remote: InTarget | None,
        trapped: Sequence[int],
        stop: Callable[[], None],
        results: bool = False,
    ) -> None:
        """``remote`` is None for a session without a target; ``results`` asks for those of calls that the
        kernel runs.
        """
        self._subject: Final = watched
        self._settings: Final = settings
        self._engine: Final = engine
        self._remote: Final = remote
        self._stop: Final = stop
        self._started: Final = time.time()
        self._recorder: Final = Recorder(trapped, results=results)
        self._feed: Feed | None = None
        self._taps_traffic: bool = False
        self._flows: Final[WeakKeyDictionary[Association, dict[Peer, TrafficTap]]] = WeakKeyDictionary()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take watchers; the one that was there before the session is told of everything."""
        self._feed = feed = Feed(
            loop,
            Session(
                info=self._info,
                state=self._state,
                watched=self._watched,
                tapped=self._tapped,
                stop=self._stop,
                records=self._recorder,
            ),
        )
        feed.listen(self._subject.directory.path)
        if self._subject.feed is not None:
            feed.adopt(self._subject.feed)

    async def close(self, status: int | None) -> None:
        """Tell the rest."""
        if self._feed is not None:
            await self._feed.close(status)

    def _info(self) -> SessionInfo:
        subject, remote = self._subject, self._remote
        things: list[str] = []
        if remote is not None:
            things += remote_things(self._settings, remote.remote, environment=subject.environment)
            things += remote_files(self._settings)
        return SessionInfo(
            id=subject.directory.id,
            front=subject.front,
            supervisor=os.getpid(),
            program=subject.program,
            pid=subject.pid,
            target=remote.target if remote is not None else None,
            remote=tuple(things),
            started=self._started,
            clock=time.time_ns() - time.monotonic_ns(),
            user=os.getuid(),
            rules=self._rules(),
        )

    def _rules(self) -> Rules:
        place, remote = self._subject.surroundings, self._remote
        return Rules.of(
            self._settings,
            place.program,
            cwd=os.fsdecode(place.cwd),
            environment=place.environment,
            tree=os.path.realpath(os.path.join(self._subject.directory.path, "fs")),
            search=remote.world.outgoing.search if remote else (),
        )

    def _state(self) -> State:
        remote = self._remote
        if remote is None:
            return State(connections=(), link=None)
        return state(remote.world, remote.lead.channel)

    def _watched(self, watched: bool) -> None:
        if watched:
            self._recorder.start_over()
        self._engine.record(self._recorder if watched else None)
        if self._remote is not None:
            self._remote.world.datagrams.watch_dns = self._dns if watched else None
            self._remote.world.files.watch(self._file if watched else None)
            if self._remote.world.incoming is not None:
                self._remote.world.incoming.show(self._incoming if watched else None)

    def _dns(self, message: bytes) -> None:
        note = dns_note(message)
        if note is not None:
            self._note(note)

    def _file(self, path: bytes, size: int, cached: bool) -> None:
        self._note(file_note(path, size, cached))

    def _tapped(self, tapped: bool) -> None:
        self._taps_traffic = tapped
        if self._remote is not None:
            world = self._remote.world
            world.connections.show(self._traffic if tapped else None)
            world.datagrams.tap = self._datagram if tapped else None
            self._flows.clear()

    def _incoming(self, flow: Flow) -> Tap | None:
        assert self._feed is not None
        http = HttpTap(flow, self._feed.exchange)
        return Several((http, self._traffic(flow))) if self._taps_traffic else http

    def _traffic(self, flow: Flow) -> TrafficTap:
        assert self._feed is not None
        return TrafficTap(flow, self._feed.traffic)

    def _datagram(self, association: Association, peer: Peer, data: Data, sent: bool) -> None:
        assert self._remote is not None
        flows = self._flows.setdefault(association, {})
        tap = flows.get(peer)
        if tap is None:
            # the first one is sent before the port is known that the pod's socket has
            port = association.ports.get(peer.family) or association.program.port
            local = self._remote.world.pod_address(peer, port) or association.program
            tap = flows[peer] = self._traffic(Flow("udp", local, peer, incoming=False))
        tap.data(data, sent=sent)

    def _note(self, note: Note) -> None:
        if self._feed is not None:
            self._feed.note(note)
