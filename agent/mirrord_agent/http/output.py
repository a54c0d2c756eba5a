"""What a splitter wants done: bytes to one side or the other, and ends."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from mirrord_agent.http.filter import HttpFilter
from mirrord_agent.http.request import Request


class Side(Enum):
    """Who answers."""

    ORIGINAL = "original"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Server:
    """One connection to a side; a new number is a new connection, opened when it is first named."""

    side: Side
    number: int


@dataclass(frozen=True, slots=True)
class ToServer:
    """Bytes for a server."""

    server: Server
    data: bytes


@dataclass(frozen=True, slots=True)
class ToClient:
    """Bytes for the client."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FinServer:
    """Nothing more will be written to a server."""

    server: Server


@dataclass(frozen=True, slots=True)
class FinClient:
    """Nothing more will be written to the client."""


@dataclass(frozen=True, slots=True)
class ResetClient:
    """The client must notice that an answer ended too soon."""


@dataclass(frozen=True, slots=True)
class Forget:
    """A server is not needed any more."""

    server: Server


Output = ToServer | ToClient | FinServer | FinClient | ResetClient | Forget


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be kept in memory, in bytes."""

    head: int = 64 * 1024
    body: int = 65_535
    """Bodies that a filter looks at; larger ones do not match."""


class Decider:
    """Decides requests as long as they are wanted; shared by the connections of a port."""

    def __init__(
        self,
        filter: HttpFilter,
        *,
        limits: Limits | None = None,
        on_decided: Callable[[Request, Side], None] | None = None,
    ) -> None:
        self.filter: Final = filter
        self.limits: Final = limits or Limits()
        self.wanted: bool = True
        """False once the local program has gone: everything goes to the original."""
        self._on_decided: Final = on_decided

    def decide(self, request: Request) -> Side | None:
        """Return who answers a request; None where its body is needed to tell."""
        taken = self.wanted and self.filter.matches(request)
        if taken is None:
            return None
        side = Side.LOCAL if taken else Side.ORIGINAL
        if self._on_decided is not None:
            self._on_decided(request, side)
        return side


class Splitter(Protocol):
    """One client's connection, without any input or output of its own."""

    @property
    def undecided(self) -> bool:
        """Bytes wait for a decision: call :meth:`give_up` if that takes too long."""
        ...

    @property
    def waits_for_body(self) -> bool:
        """A head has come, and the filter wants the body."""
        ...

    @property
    def full(self) -> bool:
        """No more of the client's bytes are wanted for now."""
        ...

    def client_data(self, data: bytes) -> list[Output]:
        """Take what the client wrote."""
        ...

    def client_eof(self) -> list[Output]:
        """The client writes no more."""
        ...

    def server_data(self, server: Server, data: bytes) -> list[Output]:
        """Take what a server wrote."""
        ...

    def server_eof(self, server: Server) -> list[Output]:
        """A server writes no more."""
        ...

    def server_lost(self, server: Server, reason: str) -> list[Output]:
        """A server could not be reached, or has reset its connection."""
        ...

    def give_up(self) -> list[Output]:
        """Decide now: what is not decided goes to the original."""
        ...
