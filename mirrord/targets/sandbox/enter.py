"""Move this process into a sandbox's namespaces, so that its children are in the pod, or in the cluster's
network.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from mirrord.targets.sandbox import linux
from mirrord.targets.sandbox.contract import RESOLV_CONF
from mirrord.targets.sandbox.control import Processes
from mirrord.targets.sandbox.userns import explained

_STAGE: Final = "/tmp"
# What the pod has itself is never covered by this machine's.
_POD_OWN: Final = ("app", "dev", "etc", "proc", "sys")
_RESOLVERS: Final = ("/run/nscd", "/var/run/nscd", "/run/systemd/resolve")
_RESOLV_CONF_PATH: Final = "/etc/resolv.conf"


class _Namespaces:
    """Descriptors of the namespaces of a process, opened before any of them is entered."""

    def __init__(self, pid: int, *kinds: str) -> None:
        self._fds = {kind: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds}

    def enter(self, kind: str, flag: int) -> None:
        linux.setns(self._fds[kind], flag)
        os.close(self._fds.pop(kind))


def enter_pod(processes: Processes, directories: tuple[str, ...]) -> None:
    """Enter the pod; children of this process will be in its PID namespace too.

    Of this machine, ``directories`` can be read at the same paths, by this process and its children only;
    those that the pod has itself, or that it has as links, are the pod's own. The process must have one
    thread only. Raises TargetError.
    """
    with explained():
        pod = _Namespaces(processes.pod, "user", "mnt", "net", "uts", "ipc", "pid")
        pod.enter("user", linux.CLONE_NEWUSER)
        linux.unshare(linux.CLONE_NEWNS)
        trees = [(path, _read_only(path)) for path in _outermost(directories)]
        for kind, flag in (
            *(("net", linux.CLONE_NEWNET), ("uts", linux.CLONE_NEWUTS), ("ipc", linux.CLONE_NEWIPC)),
            *(("pid", linux.CLONE_NEWPID), ("mnt", linux.CLONE_NEWNS)),
        ):
            pod.enter(kind, flag)
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        _attach([(path, tree) for path, tree in trees if _is_missing(path)])


def _read_only(path: str) -> int:
    tree = linux.clone_tree(path)
    linux.make_read_only(tree)
    return tree


def _outermost(directories: tuple[str, ...]) -> Iterator[str]:
    """Give the directories that are not within another."""
    for path in sorted(set(directories)):
        if not any(path.startswith(f"{other}/") for other in directories):
            yield path


def _top(path: str) -> str:
    return path.split("/", 2)[1]


def _is_missing(path: str) -> bool:
    """Return whether this machine's directory can be put at a path of the pod and cover nothing."""
    if path == "/" or _top(path) in _POD_OWN:
        return False
    try:
        return path.count("/") > 1 and not os.listdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        # Not a directory, or not ours to look into.
        return False


def _attach(trees: list[tuple[str, int]]) -> None:
    tops = {_top(path) for path, _ in trees}
    if missing := [top for top in tops if not os.path.lexists(f"/{top}")]:
        _extend_root(missing)
    for path, tree in trees:
        os.makedirs(path, exist_ok=True)
        linux.attach_tree(tree, path)


def _extend_root(names: list[str]) -> None:
    """Add directories to the root as this mount namespace has it; the pod's own is not touched.

    The new root is a file system of its own, on which everything of the old one is mounted where it was.
    """
    links = {entry.name: os.readlink(entry.path) for entry in os.scandir("/") if entry.is_symlink()}
    trees = {
        entry.name: linux.clone_tree(entry.path)
        for entry in os.scandir("/")
        if entry.is_dir(follow_symlinks=False)
    }
    linux.mount("pod", _STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    for name, target in links.items():
        os.symlink(target, f"{_STAGE}/{name}")
    for name, tree in trees.items():
        os.mkdir(f"{_STAGE}/{name}")
        linux.attach_tree(tree, f"{_STAGE}/{name}")
    for name in names:
        os.mkdir(f"{_STAGE}/{name}")
    linux.change_root(_STAGE)


def enter_cluster(processes: Processes) -> None:
    """Enter the cluster's network, with its DNS server as the resolver; all other files are this machine's.

    The process must have one thread only. Raises TargetError.
    """
    with explained():
        supervisor = _Namespaces(processes.supervisor, "user", "net")
        supervisor.enter("user", linux.CLONE_NEWUSER)
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
        _replace_resolver()
        supervisor.enter("net", linux.CLONE_NEWNET)


def _replace_resolver() -> None:
    target = os.path.realpath(_RESOLV_CONF_PATH)
    linux.mount("resolver", _STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV)
    with open(f"{_STAGE}/resolv.conf", "w") as file:
        file.write(RESOLV_CONF)
    tree = linux.clone_tree(f"{_STAGE}/resolv.conf")
    linux.detach(_STAGE)
    linux.attach_tree(tree, target)
    for path in _RESOLVERS:
        # Their sockets lead to resolvers in this machine's network.
        if os.path.isdir(path) and not target.startswith(f"{os.path.realpath(path)}/"):
            linux.mount("resolver", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV)


def working_directory() -> str | None:
    """Return the current directory as a path, or None where it has none any more."""
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return None
