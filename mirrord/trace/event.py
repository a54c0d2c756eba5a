"""One decision, as people and programs read it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Plane = Literal["files", "outgoing", "incoming", "names", "process"]
Side = Literal["local", "remote", "absent"]
PLANES: tuple[Plane, ...] = ("files", "outgoing", "incoming", "names", "process")


class Argument(BaseModel):
    """An argument that was another one on this machine: a relay's address, a placeholder's path."""

    model_config = ConfigDict(frozen=True)

    place: int
    """Of the argument, from 0."""
    was: str
    became: str


class Event(BaseModel):
    """A call and what became of it."""

    model_config = ConfigDict(frozen=True)

    time: float
    """When it was made: seconds of the real-time clock."""
    pid: int
    tid: int
    command: str
    """What the process is called."""
    call: str
    arguments: tuple[str, ...]
    """As the program sees them."""
    rewritten: tuple[Argument, ...] = ()
    plane: Plane
    side: Side
    rule: str
    """Why it went where it went."""
    answer: Literal["continued", "returned", "failed", "descriptor"]
    result: int | None
    """What the program got, ``-errno`` for a failure; None where the kernel ran the call, without
    ``--results``.
    """
    error: str | None = None
    """The name of the errno; ERESTARTSYS and the like where a signal has interrupted the call."""
    held: bool
    """It waited for something remote."""
    duration: float
    """Seconds until it was answered."""
    bytes: int | None = None
    """Of the payload that it carried."""

    @property
    def failed(self) -> bool:
        """It was answered with an errno."""
        return self.answer == "failed"
