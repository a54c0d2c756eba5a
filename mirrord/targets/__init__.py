"""The targets: what a program can be made to run in."""

from typing import TYPE_CHECKING, Final

from mirrord.targets.noting import Note, unnoted

if TYPE_CHECKING:
    from mirrord.config.model import Settings
    from mirrord.targets.base import Target, Tell

_SANDBOX: Final = "sandbox"


def announce(settings: "Settings", tell: "Tell") -> None:
    """Say what a session begins with, before what takes long to import, where that takes long itself."""
    if not settings.target.startswith(_SANDBOX):
        tell.step(f"looking for {settings.target}", "to find it")


def prepare(settings: "Settings", tell: "Tell", note: Note = unnoted) -> "Target":
    """Begin to make, or join, the target of a session.

    Must be called before there are threads; does not wait. Raises TargetError for one that is not there.
    """
    kind, slash, name = settings.target.partition("/")
    if kind != _SANDBOX:
        # before the half second that the client takes to import
        announce(settings, tell)
        from mirrord.targets.kubernetes.target import KubernetesTarget

        return KubernetesTarget(settings, tell, note)
    from mirrord.targets.sandbox import launch, registry
    from mirrord.targets.sandbox.target import SandboxTarget

    return SandboxTarget(launch.join(registry.checked(name)) if slash else launch.join_or_make())
