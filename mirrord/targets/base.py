"""What a session needs of its target, whatever kind that is."""

from typing import Protocol

from mirrord.link.endpoint import AgentEndpoint


class Target(Protocol):
    """A pod, or what stands for one. It ends with the process that prepared it, if it was made for that."""

    @property
    def label(self) -> str:
        """What to call it in front of people."""

    def start_agent(self, client_key: bytes) -> AgentEndpoint:
        """Start an agent for the holder of an Ed25519 key (its 32 public bytes), and return it when it
        listens.

        Blocks, for up to half a minute. Raises TargetError.
        """

    def close(self) -> None:
        """End what was made for this session: the agent, and a private sandbox."""
