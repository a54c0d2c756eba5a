"""Whom the target runs as, and how a thread of ours comes to act as it does."""

from dataclasses import dataclass
from typing import Final

from mirrord_agent import linux

_HEX: Final = 16


@dataclass(frozen=True, slots=True)
class Credentials:
    """The ids of a process as our user namespace sees them, and its capabilities (proc_pid_status(5))."""

    uids: tuple[int, int, int, int]
    """Real, effective, saved, file system."""
    gids: tuple[int, int, int, int]
    groups: frozenset[int]
    effective: int
    permitted: int

    @classmethod
    def of(cls, status: str) -> "Credentials":
        """Read what ``/proc/PID/status`` says."""
        fields = dict(line.partition(":")[::2] for line in status.splitlines())
        return cls(
            uids=_ids(fields["Uid"]),
            gids=_ids(fields["Gid"]),
            groups=frozenset(int(group) for group in fields["Groups"].split()),
            effective=int(fields["CapEff"], _HEX),
            permitted=int(fields["CapPrm"], _HEX),
        )

    @classmethod
    def of_this_thread(cls) -> "Credentials":
        """Read those of the calling thread."""
        with open("/proc/thread-self/status") as status:
            return cls.of(status.read())


def _ids(text: str) -> tuple[int, int, int, int]:
    real, effective, saved, file_system = (int(part) for part in text.split())
    return real, effective, saved, file_system


def become(wanted: Credentials) -> None:
    """Give the calling thread, and no other, the wanted credentials; raise OSError.

    A user namespace may forbid setgroups, or lack a mapping (user_namespaces(7)): only what differs is set.
    Capabilities that we do not have are not gained: the agent's own limit what the target may do here.
    """
    ours = Credentials.of_this_thread()
    if ours.groups != wanted.groups:
        linux.set_thread_groups(sorted(wanted.groups))
    if ours.gids != wanted.gids:
        linux.set_thread_gids(*wanted.gids[:3])
        linux.set_thread_fs_gid(wanted.gids[3])
    if ours.uids != wanted.uids:
        linux.set_thread_uids(*wanted.uids[:3])
        # leaving user 0 has taken the effective capabilities away, and CAP_SETUID is needed once more
        linux.set_thread_capabilities(effective=ours.permitted, permitted=ours.permitted)
        linux.set_thread_fs_uid(wanted.uids[3])
    permitted = ours.permitted & wanted.permitted
    linux.set_thread_capabilities(effective=wanted.effective & permitted, permitted=permitted)
