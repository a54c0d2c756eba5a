"""Finds a container's first process by the control groups of all processes; no container runtime is asked.

Seen from the node's PID namespace, ``/proc/PID/cgroup`` names the container's id in one part of its path,
whatever runtime made it and whether it is cgroup v1 or v2 (cgroups(7))::

    0::/kubepods.slice/kubepods-burstable.slice/kubepods-…-pod9a….slice/cri-containerd-<id>.scope
    4:memory:/kubepods/besteffort/pod9a…/<id>
    0::/system.slice/containerd.service/kubepods-…-pod9a….slice:cri-containerd:<id>
    0::/../../pod9a…/<id>       (read from a control group namespace of our own)
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mirrord_agent.errors import AgentError

_RUNTIME: Final = r"(?:cri-containerd|crio|docker|libpod)"
_PART: Final = re.compile(rf"(?:{_RUNTIME}-|[^:]*:{_RUNTIME}:)?([0-9a-f]{{64}})(?:\.scope)?")
"""A directory that a runtime names after a container; not ``crio-conmon-<id>.scope``, its monitor's."""
_START_TIME: Final = 19
"""The place of ``starttime`` after the command's name in ``/proc/PID/stat`` (proc_pid_stat(5))."""


def first_process(container: str, *, proc: Path = Path("/proc")) -> int:
    """Return the process that a container was started with; raise AgentError if it has none here.

    ``container`` is its id, 64 hexadecimal digits. Of its processes that is the oldest.
    """
    found = [
        (started, pid)
        for pid in _processes(proc)
        if container in containers(_read(proc / str(pid) / "cgroup"))
        and (started := _start_time(_read(proc / str(pid) / "stat"))) is not None
    ]
    if not found:
        raise AgentError(
            f"no process of the container {container[:12]} is to be seen: "
            "it has ended, or this pod is not in the node's PID namespace"
        )
    return min(found)[1]


def containers(cgroups: str) -> set[str]:
    """Return the ids that a ``/proc/PID/cgroup`` names."""
    return {
        match[1]
        for line in cgroups.splitlines()
        for part in line.partition(":")[2].partition(":")[2].split("/")
        if (match := _PART.fullmatch(part)) is not None
    }


def _processes(proc: Path) -> Iterator[int]:
    return (int(entry) for entry in os.listdir(proc) if entry.isdigit())


def _start_time(stat: str) -> int | None:
    fields = stat.rpartition(")")[2].split()
    return int(fields[_START_TIME]) if fields else None


def _read(path: Path) -> str:
    """Return what a file says, nothing if the process has ended meanwhile."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
