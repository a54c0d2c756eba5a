"""The sandbox as a session's target, and as what ``mirrord sandbox exec`` and ``run`` enter."""

import contextlib
import socket
from types import TracebackType
from typing import Final, Self, TypeVar

from mirrord.errors import TargetError
from mirrord.link.endpoint import AgentEndpoint
from mirrord.targets.sandbox import location, processes, supervisor
from mirrord.targets.sandbox.contract import HOSTNAME, Settings
from mirrord.targets.sandbox.control import (
    AgentStarted,
    Entered,
    Failure,
    Greeting,
    Message,
    StartAgent,
    Warm,
    decode,
    encode,
)

_Kind = TypeVar("_Kind", bound=Message)
_PATIENCE: Final = 30.0
"""Seconds after which a sandbox that does not answer is given up."""


class Sandbox:
    """A connection to a sandbox; the sandbox ends with it if it is a private one."""

    def __init__(self, connection: socket.socket, *, name: str | None, child: int | None = None) -> None:
        self._connection = connection
        self._connection.settimeout(_PATIENCE)
        self._lines = connection.makefile("rb")
        self._name = name
        self._child = child
        self._greeting: Greeting | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def label(self) -> str:
        """What people call it."""
        if self._name is None:
            return f"{HOSTNAME} (a private sandbox)"
        return f"{self.greeting().hostname} (sandbox {self._name})"

    def fileno(self) -> int:
        """Return the connection's descriptor, which becomes readable when the sandbox ends."""
        return self._connection.fileno()

    def has_ended(self) -> bool:
        """Tell whether the sandbox is gone, without waiting."""
        try:
            return not self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def greeting(self) -> Greeting:
        """Wait until the sandbox is whole and return what it says of itself; raise TargetError."""
        if self._greeting is None:
            self._greeting = self._receive(Greeting)
        return self._greeting

    def entered(self) -> None:
        """Wait until it is known that this machine allows a private sandbox; raise TargetError."""
        self._receive(Entered)

    def warm(self) -> None:
        """Begin to start an agent; raise TargetError."""
        self._send(Warm())

    def start_agent(self, client_key: bytes) -> AgentEndpoint:
        """Start the agent for the owner of this raw public key and wait until it listens; raise TargetError."""
        self.greeting()
        self._send(StartAgent(client_key=client_key.hex()))
        started = self._receive(AgentStarted)
        return AgentEndpoint(path=started.path, public_key=bytes.fromhex(started.key))

    def close(self) -> None:
        """Leave the sandbox; wait until it is gone if it is a private one."""
        self._lines.close()
        self._connection.close()
        if self._child is not None:
            processes.reap(self._child)
            self._child = None

    def _send(self, message: Message) -> None:
        try:
            self._connection.sendall(encode(message))
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, kind: type[_Kind]) -> _Kind:
        try:
            message = decode(self._lines.readline())
        except (OSError, ValueError) as error:
            raise self._lost(error) from error
        if isinstance(message, Failure):
            raise message.error()
        if not isinstance(message, kind):
            raise TargetError(f"the sandbox said {type(message).__name__}, expected {kind.__name__}")
        return message

    def _lost(self, error: Exception) -> TargetError:
        if isinstance(error, TimeoutError):
            return TargetError(f"the sandbox did not answer for {_PATIENCE:.0f} seconds")
        return TargetError("the sandbox ended")


def prepare(name: str | None) -> Sandbox:
    """Join the sandbox ``name``, or without a name the default one if it is up, else make a private one; begin to start an agent.

    Raises TargetError. Forks: see :func:`mirrord.targets.prepare`.
    """
    sandbox = find(name or location.DEFAULT_NAME)
    if sandbox is not None:
        sandbox.warm()
        return sandbox
    if name is not None:
        raise not_running(name)
    return make(Settings(), warm=True)


def join(name: str) -> Sandbox:
    """Join the sandbox ``name``, or make a private one where the default one is not up; raise TargetError."""
    sandbox = find(name)
    if sandbox is not None:
        return sandbox
    if name != location.DEFAULT_NAME:
        raise not_running(name)
    return make(Settings())


def not_running(name: str) -> TargetError:
    """Return the error that no sandbox of that name is up."""
    return TargetError(
        f"no sandbox called `{name}` is up", remedy=f"start one: mirrord sandbox up --name {name}"
    )


def make(settings: Settings, *, place: location.Place | None = None, warm: bool = False) -> Sandbox:
    """Make a sandbox that ends with us, to be found at ``place``; raise TargetError."""
    child, connection = supervisor.fork(settings, place=place, warm=warm)
    sandbox = Sandbox(connection, name=None, child=child)
    with contextlib.ExitStack() as stack:
        stack.callback(sandbox.close)
        sandbox.entered()
        stack.pop_all()
    return sandbox


def find(name: str) -> Sandbox | None:
    """Connect to the sandbox ``name``; return None if none is up; raise UsageError or TargetError."""
    location.check_name(name)
    connection = location.connect(name)
    return None if connection is None else Sandbox(connection, name=name)
