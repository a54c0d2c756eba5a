"""What a session tells of itself."""

import os
from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from mirrord.config.features import Fs, Network
from mirrord.config.model import Settings
from mirrord.config.outgoing import DnsRules, OutgoingRules
from mirrord.config.paths import PathRules


class Model(BaseModel):
    """A part of what is told; never changed."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Rules(Model):
    """What the session's rules are compiled from; nothing of it is secret."""

    fs: str
    network: str
    aws: bool
    cwd: str
    home: str | None
    tmpdir: str
    executable: str
    code: tuple[str, ...]
    search: tuple[str, ...]
    """What names are completed with (resolv.conf(5))."""
    tree: str | None = None
    path: tuple[str, ...] = ()
    """The directories of PATH."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        program: Sequence[str],
        *,
        search: Sequence[str],
        cwd: str = "/",
        environment: Mapping[str, str] = os.environ,
        tree: str | None = None,
    ) -> Self:
        """Return those of a session whose program runs in ``cwd`` and has, or had, this environment."""
        feature = settings.feature
        return cls(
            fs=feature.fs.model_dump_json(),
            network=feature.network.model_dump_json(),
            aws=feature.magic.aws,
            cwd=cwd,
            home=environment.get("HOME"),
            tmpdir=environment.get("TMPDIR", "/tmp"),
            executable=os.path.abspath(program[0]),
            code=tuple(word for word in program[1:] if word.startswith("/") and os.path.isfile(word)),
            search=tuple(search),
            tree=tree,
            path=tuple(environment.get("PATH", "").split(":")),
        )

    def paths(self) -> PathRules:
        """Return the rules of the files plane."""
        return PathRules(
            Fs.model_validate_json(self.fs),
            cwd=os.fsencode(self.cwd),
            home=os.fsencode(self.home) if self.home else None,
            tmpdir=os.fsencode(self.tmpdir),
            executable=os.fsencode(self.executable),
            code=[os.fsencode(word) for word in self.code],
            aws=self.aws,
            tree=os.fsencode(self.tree) if self.tree else None,
            search=[os.fsencode(directory) for directory in self.path],
        )

    def outgoing(self) -> OutgoingRules:
        """Return the rules of connections."""
        return OutgoingRules(Network.model_validate_json(self.network).outgoing, search=self.search)

    def dns(self) -> DnsRules:
        """Return the rules of names."""
        return DnsRules(Network.model_validate_json(self.network), search=self.search)


class SessionInfo(Model):
    """One session, as it began."""

    id: str
    front: int
    supervisor: int
    program: tuple[str, ...]
    pid: int
    """The program's first process."""
    target: str | None
    """None where nothing is remote, and calls are only watched."""
    remote: tuple[str, ...]
    """What is remote, for people."""
    started: float
    """Seconds of the real-time clock."""
    clock: int
    """Nanoseconds to add to the monotonic clock for the real time."""
    user: int
    rules: Rules


class Connection(Model):
    """One connection to the target's network."""

    id: int
    protocol: Literal["tcp", "udp", "unix"]
    remote: str
    local: str
    """The address that it has in the pod."""
    program: str
    """The address that the program's socket has here."""
    state: str
    sent: int = 0
    received: int = 0


class LinkState(Model):
    """The link to the agent; all in bytes since the start."""

    round_trip: float | None
    """Seconds, by the latest measurement."""
    sent: int
    received: int


class State(Model):
    """How things are now."""

    connections: tuple[Connection, ...]
    link: LinkState | None


class Note(Model):
    """Something that happened beside the calls."""

    time: int
    """Nanoseconds of the monotonic clock."""
    kind: Literal["question", "answer", "file"]
    text: str
    """A name and its type; what was answered; a path."""
    size: int = 0
    cached: bool = False
    packet: str = ""
    """Of an answer, the DNS message in hexadecimal: rules may be about the names that an address has."""


class Exchange(Model):
    """A request over HTTP that reached the program; told again when it has answered."""

    id: int
    time: int
    """Nanoseconds of the monotonic clock."""
    remote: str
    port: int
    """Of the target."""
    request: str
    """The method and the path."""
    status: int | None = None


class Dropped(Model):
    """So much was lost since the last time: it came faster than it was taken."""

    count: int
    """Of records."""
    traffic: int = 0
    """Of the target's traffic, in bytes."""


class Ended(Model):
    """The session is over; the wait status of the program's first process (wait(2))."""

    status: int | None
