"""Where an agent is, and by which key it is known."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentEndpoint:
    """One agent that is ready: the path of its unix socket, and the 32 bytes of its Ed25519 public key."""

    path: str
    public_key: bytes
