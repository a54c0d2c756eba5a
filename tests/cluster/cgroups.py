"""Control groups for the node: made here, entered by its first process, and removed when it has ended.

With cgroup v1 there is one group in each hierarchy; the node sees each as its root, by a cgroup namespace
(cgroup_namespaces(7)).
"""

import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_PREFIX: Final = "mirrord-cluster-"
_CONTROLLERS: Final = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One tree of control groups."""

    mount: Path
    options: str
    """What mount(8) takes for it; nothing for cgroup v2."""


def hierarchies() -> list[Hierarchy]:
    """Return those that are mounted below the usual place: the v1 ones where there are any, else v2."""
    found: list[Hierarchy] = []
    unified: list[Hierarchy] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mount, (kind, _, options) = Path(left.split()[4]), right.split()[:3]
        if not mount.is_relative_to(ROOT):
            continue
        if kind == "cgroup2":
            unified.append(Hierarchy(mount, ""))
        elif kind == "cgroup":
            words = [word for word in options.split(",") if word not in ("rw", "xattr")]
            found.append(Hierarchy(mount, ",".join(["none", *words] if _named(words) else words)))
    return found or unified


def _named(words: list[str]) -> bool:
    return any(word.startswith("name=") for word in words)


class Groups:
    """A node's groups, one in each hierarchy, named after this process."""

    def __init__(self) -> None:
        self._trees: Final = hierarchies()
        name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self.paths: Final = [tree.mount / name for tree in self._trees]

    def make(self) -> None:
        """Make them; raise OSError. What tests that were killed have left goes first."""
        self._sweep()
        for path in self.paths:
            path.mkdir()
            if (path / "cpuset.cpus").exists() and not (path / "cgroup.controllers").exists():
                # a new group of v1 has no processors, and takes no process until it has
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (path / name).write_text((path.parent / name).read_text())

    def enter(self) -> None:
        """Move the calling process into them."""
        for path in self.paths:
            (path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self) -> None:
        """Remove them, once no process is left in them."""
        for path in self.paths:
            _remove(path)

    def _sweep(self) -> None:
        for tree in self._trees:
            for path in tree.mount.glob(f"{_PREFIX}*"):
                if not Path("/proc", path.name.removeprefix(_PREFIX).partition("-")[0]).exists():
                    _remove(path)


def _remove(path: Path) -> None:
    """Remove a group and those below it; files in there go with their group."""
    if path.exists():
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)


def mount() -> None:
    """Show the calling process its groups as the roots, in a mount and a cgroup namespace of its own."""
    trees = hierarchies()
    if [tree.options for tree in trees] == [""]:
        _mount("-t", "cgroup2", "cgroup2", str(ROOT))
        _delegate()
        return
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(ROOT))
    for tree in trees:
        tree.mount.mkdir()
        _mount("-t", "cgroup", "-o", tree.options, "cgroup", str(tree.mount))


def _delegate() -> None:
    """Let groups have controllers: a group of v2 that has some must have no processes (cgroups(7))."""
    inner = ROOT / "init"
    inner.mkdir()
    (inner / "cgroup.procs").write_text(str(os.getpid()))
    there = (ROOT / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in _CONTROLLERS if name in there)
    (ROOT / "cgroup.subtree_control").write_text(wanted)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
