"""What a session and the sandbox's supervisor say to each other: lines of JSON over a unix stream socket."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

MAX_LINE: Final = 64 * 2**10


@dataclass(frozen=True, slots=True)
class AskAgent:
    """Start an agent that takes only the client with this Ed25519 public key (hex); it ends with the
    connection.
    """

    client_key: str


@dataclass(frozen=True, slots=True)
class AskProcesses:
    """Say which processes hold the namespaces."""


@dataclass(frozen=True, slots=True)
class AgentReady:
    """Where the agent listens, and its public key (hex).

    The name is one in a directory, a descriptor of which comes along: that is found from any namespace.
    """

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Processes:
    """The supervisor, in the cluster's network, and the pod's main process; PIDs of this machine."""

    supervisor: int
    pod: int
    hostname: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, as in :exc:`mirrord.errors.MirrordError`."""

    problem: str
    remedy: str


Message = AskAgent | AskProcesses | AgentReady | Processes | Problem
_TYPES: Final[dict[str, type[Message]]] = {
    item.__name__: item for item in (AskAgent, AskProcesses, AgentReady, Processes, Problem)
}


def encode(message: Message) -> bytes:
    """Return the line that says ``message``."""
    return json.dumps({"type": type(message).__name__, **asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return what a line says; raises ValueError for one that says nothing we know."""
    value: Any = json.loads(line)
    if not isinstance(value, dict) or (kind := _TYPES.get(value.pop("type", ""))) is None:
        raise ValueError("not a message of the sandbox")
    try:
        return kind(**value)
    except TypeError as error:
        raise ValueError("a malformed message of the sandbox") from error
