"""What /proc tells of other processes; the files of one that has ended read as if it had nothing."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from mirrord_seccomp.syscalls import current_arch
from mirrord_seccomp.syscalls import name as syscall_name


def _read(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except OSError:
        # it has ended, or is another user's
        return ""


def everything() -> list[int]:
    """Return the processes that there are."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def marked(mark: int) -> list[int]:
    """Return the processes with the mark of a Runner that have not ended."""
    wanted = re.compile(rf"^Max msgqueue size +{mark} ", re.MULTILINE)
    return [pid for pid in everything() if wanted.search(_read(pid, "limits")) and state(pid) not in "ZX"]


def command_line(pid: int) -> str:
    """Return its arguments, for people."""
    return _read(pid, "cmdline").replace("\0", " ") or "(ended meanwhile)"


def name(pid: int) -> str:
    """Return its short name."""
    return _read(pid, "comm").strip()


def state(pid: int) -> str:
    """Return the letter of its state, X when it is gone."""
    after = _read(pid, "stat").rpartition(")")[2].split()
    return after[0] if after else "X"


def system_call(pid: int) -> str:
    """Return the name of the call that its first thread is in, nothing when it is in none (proc(5))."""
    number = _read(pid, "syscall").partition(" ")[0]
    return syscall_name(int(number), current_arch()) or "" if number.strip().isdigit() else ""


def is_pending(pid: int) -> bool:
    """Tell whether it has a signal to take."""
    found = re.findall(r"^S[ih][gd]Pnd:\s+([0-9a-f]+)", _read(pid, "status"), re.MULTILINE)
    return any(int(mask, 16) for mask in found)


def parent(pid: int) -> int:
    """Return its parent, 0 when it is gone."""
    after = _read(pid, "stat").rpartition(")")[2].split()
    return int(after[1]) if after else 0


def network(pid: int) -> str:
    """Return the name of its network namespace."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        # it has ended
        return ""


def memory(pid: int, field: str = "VmRSS") -> int:
    """Return its memory in bytes: now (VmRSS) or at most so far (VmHWM)."""
    found = re.search(rf"^{field}:\s+(\d+) kB", _read(pid, "status"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def children(pid: int) -> list[int]:
    """Return the processes that it has started."""
    return [one for one in everything() if (status := _read(one, "status")) and f"\nPPid:\t{pid}\n" in status]


@dataclass(frozen=True, slots=True)
class Chain:
    """The processes of one session."""

    front: int
    keeper: int
    supervisor: int

    @classmethod
    def of(cls, front: int) -> "Chain":
        """Find them, once the program has been started."""
        (keeper,) = children(front)
        (supervisor,) = children(keeper)
        return cls(front, keeper, supervisor)
