"""What a session needs of its target, whatever kind that is."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mirrord.link.endpoint import Endpoint


class Tell(Protocol):
    """How a target speaks to the user while it is being prepared."""

    def info(self, text: str) -> None:
        """Say what is normal."""

    def detail(self, text: str) -> None:
        """Say what only ``-v`` asks for."""

    def warn(self, text: str) -> None:
        """Say what the user must know."""

    def step(self, doing: str, purpose: str) -> None:
        """Say what is done now, and has ended when the next step begins, or the session is ready."""


@dataclass(frozen=True, slots=True)
class Replica:
    """An agent beside another pod of the target."""

    name: str
    """The pod's."""
    endpoint: Endpoint


class Target(Protocol):
    """A pod, or what stands for one. It ends with the process that prepared it, if it was made for that."""

    @property
    def label(self) -> str:
        """What to call it in front of people, once its agent has been started."""

    @property
    def pod(self) -> str:
        """What the pod that stands for it is called, once its agent has been started."""

    @property
    def probes(self) -> Mapping[int, str]:
        """Which of its ports somebody watches its health by, and by what; known with the label."""

    @property
    def ports(self) -> Sequence[int]:
        """The ports that it says it listens to, once its agent has been started."""

    async def start_agent(self, client_key: bytes) -> Endpoint:
        """Start an agent for the holder of an Ed25519 key (its 32 public bytes), and return it when it
        listens.

        Raises TargetError. May be cancelled.
        """

    async def replicas(self) -> Sequence[Replica]:
        """Start agents beside the target's other pods, whose incoming connections are wanted too; wait for
        them, not for too long, and return those that listen. They know the client by the same key.
        """

    def later_replicas(self) -> AsyncIterator[Replica]:
        """Give those that listen later, for as long as it is asked; not before :meth:`replicas`."""

    async def leaving(self) -> None:
        """Wait until it is known that the pod is going: the first one, or the one that :meth:`leads` now."""

    async def successor(self) -> Replica | None:
        """Start an agent beside another pod, for when the first one goes; None where there is no other."""

    def leads(self, pod: str) -> None:
        """Take note that another pod, by its name, stands for the target from now on."""

    async def close(self) -> None:
        """End what was made for this session: the agent, and a private sandbox or a Job."""
