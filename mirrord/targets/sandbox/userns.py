"""The user namespace that makes a sandbox possible without privileges, and why a machine may not give one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mirrord.errors import TargetError
from mirrord.targets.sandbox import linux
from mirrord.targets.sandbox.contract import POD_UID

# Each with the value that forbids user namespaces to ordinary users, and what allows them.
_SWITCHES: Final = (
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=10000"),
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
_ELSE: Final = (
    "allow user namespaces: in a container, start that with --security-opt seccomp=unconfined"
    " --security-opt apparmor=unconfined; else use a kernel with CONFIG_USER_NS"
)


def _setting(name: str) -> str | None:
    try:
        with open(f"/proc/sys/{name}") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


@contextmanager
def explained() -> Iterator[None]:
    """Turn an OSError of the block, which makes namespaces, into a TargetError that says what to enable."""
    try:
        yield
    except OSError as error:
        remedies = [remedy for name, forbids, remedy in _SWITCHES if _setting(name) == forbids]
        raise TargetError(
            f"the sandbox needs user namespaces, which this machine does not allow ({error.strerror})",
            remedy=f"enable them with: {remedies[0]}" if remedies else _ELSE,
        ) from error


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def enter_new(*, others: int) -> None:
    """Move into a new user namespace, where the current user is the pod's, and new ones of the kinds
    ``others``.

    All capabilities are had there. Raises OSError. See user_namespaces(7) for the order of the files.
    """
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER | others)
    linux.be_inspectable()
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/gid_map", f"{POD_UID} {gid} 1")
    _write("/proc/self/uid_map", f"{POD_UID} {uid} 1")
