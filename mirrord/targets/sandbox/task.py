"""What whoever makes a sandbox tells its supervisor."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from mirrord.targets.sandbox.contract import PodSpec

SUPERVISOR: Final = "mirrord.targets.sandbox.supervisor"
CONTROL_FD: Final = 3
LISTENER_FD: Final = 4


@dataclass(frozen=True, slots=True)
class Task:
    """What a supervisor is started for; ``listener`` is the path of the socket at LISTENER_FD, or empty."""

    creator: int
    executable: str
    spec: PodSpec
    listener: str

    def encode(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def decode(cls, value: dict[str, Any]) -> "Task":
        """Return what :meth:`encode` was called on."""
        return cls(**{**value, "spec": PodSpec(**value["spec"])})
