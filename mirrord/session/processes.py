"""End every process of a session, whatever it has done to get away.

A descendant that loses its parent becomes the child of the nearest living ancestor that is a subreaper
(prctl(2)), so killing children again and again until there are none ends daemons and fork loops too. No
cgroup and no privilege is needed.
"""

import os
import signal
from collections.abc import Iterator

from mirrord.ours import OURS
from mirrord.tracer.sys import PR_SET_CHILD_SUBREAPER, prctl


def become_subreaper() -> None:
    """Take over the orphans among our descendants."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Return our children, zombies included, but for what mirrord runs for itself."""
    try:
        found = [pid for task in os.listdir("/proc/self/task") for pid in _children_of(task)]
    except FileNotFoundError:
        # a kernel without CONFIG_PROC_CHILDREN
        found = _by_parent().get(os.getpid(), [])
    return [pid for pid in found if pid not in OURS]


def _children_of(task: str) -> list[int]:
    with open(f"/proc/self/task/{task}/children", "rb") as stream:
        return [int(pid) for pid in stream.read().split()]


def kill_all_descendants(*, spare: frozenset[int] = frozenset()) -> int:
    """Kill and reap until no child is left but those spared; return how many there were."""
    ended = 0
    while doomed := [pid for pid in children() if pid not in spare]:
        ended += sum(kill(pid, signal.SIGKILL) for pid in doomed)
        for pid in doomed:
            _reap(pid)
    return ended


def kill(pid: int, number: int) -> bool:
    """Send a signal to a child, and tell whether there was one: its tracer, another thread of ours, may have
    reaped it just now.
    """
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _reap(pid: int) -> None:
    """Reap a child, unless its tracer, another thread of ours, was quicker."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return


def descendants(*of: int) -> Iterator[int]:
    """Return every process below some, below us by default."""
    parents = _by_parent()
    waiting = list(of) or [os.getpid()]
    while waiting:
        below = parents.get(waiting.pop(), [])
        yield from below
        waiting += below


def _by_parent() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    # the command's name may hold anything, parentheses too (proc_pid_stat(5))
                    parent = int(stat.read().rpartition(b")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.setdefault(parent, []).append(int(name))
    return found
