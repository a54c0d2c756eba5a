"""The process that is impersonated: its root, environment, credentials and namespaces."""

import os
from dataclasses import dataclass
from typing import Final

from mirrord_agent import linux
from mirrord_agent.credentials import Credentials
from mirrord_agent.errors import AgentError

_NAMESPACES: Final = (("net", linux.CLONE_NEWNET), ("uts", linux.CLONE_NEWUTS))


@dataclass(frozen=True, slots=True)
class Target:
    """What the agent holds of the target."""

    pid: int
    pidfd: int
    """Readable once the target has ended."""
    root: int
    """Its root directory, with its mounts."""
    environment: tuple[tuple[bytes, bytes], ...]
    credentials: Credentials
    reserved: int | None = None
    """A descriptor that was opened before all others; the kernel releases them in the order of their numbers
    when the agent is killed, and one thing must come after the rest.
    """


def enter(pid: int, *, reserved: int | None = None) -> Target:
    """Open the target and move this process into its network, UTS and user namespaces; raise AgentError.

    Call it before any thread exists. What was bound before stays where it was; the mounts stay ours.
    """
    try:
        pidfd = os.pidfd_open(pid)
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        environment = _environment(pid)
        _join(pid)
        return Target(pid, pidfd, root, environment, _credentials(pid), reserved)
    except (ProcessLookupError, FileNotFoundError):
        raise AgentError(f"there is no process {pid}") from None
    except OSError as error:
        raise AgentError(f"process {pid} cannot be entered: {error.strerror or error}") from error


def _environment(pid: int) -> tuple[tuple[bytes, bytes], ...]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        entries = file.read().split(b"\0")
    return tuple(
        (name, value) for name, found, value in (entry.partition(b"=") for entry in entries) if found
    )


def _credentials(pid: int) -> Credentials:
    with open(f"/proc/{pid}/status") as status:
        return Credentials.of(status.read())


def _join(pid: int) -> None:
    """Join what differs; the user namespace first only where we may not join the others from ours.

    In the target's user namespace our capabilities are worth what the target's are. But a namespace that the
    target shares with its host belongs to an outer user namespace, and can be joined only from there
    (setns(2)).
    """
    user = _differing(pid, "user")
    others = [(fd, kind) for name, kind in _NAMESPACES if (fd := _differing(pid, name)) is not None]
    late: list[tuple[int, int]] = []
    for fd, kind in others:
        try:
            linux.setns(fd, kind)
        except PermissionError:
            if user is None:
                raise
            late.append((fd, kind))
    if user is not None:
        linux.setns(user, linux.CLONE_NEWUSER)
        os.close(user)
    for fd, kind in late:
        linux.setns(fd, kind)
    for fd, _ in others:
        os.close(fd)


def _differing(pid: int, name: str) -> int | None:
    """Return a descriptor of the target's namespace, None if it is ours."""
    fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    if os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{name}")):
        os.close(fd)
        return None
    return fd
