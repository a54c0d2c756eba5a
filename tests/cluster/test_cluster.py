"""The cluster itself: it is all inside its namespaces, and ends as a whole."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.processes import everything, state
from ..support.waiting import until
from .cgroups import ROOT, hierarchies
from .cluster import Cluster, running

SYSCTLS = ("net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")


def traces(folder: Path) -> set[str]:
    """Return what a cluster might leave or change on this machine."""
    found = {f"{name} = {Path('/proc/sys', name).read_text()}" for name in SYSCTLS}
    found |= {line for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line}
    found |= {link["ifname"] for link in _links() if link["ifname"].startswith(("mirrord", "cni", "veth"))}
    found |= {str(path) for tree in hierarchies() for path in tree.mount.glob("mirrord-cluster-*")}
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    return found | {line for line in rules.splitlines() if "KUBE-" in line}


def _links() -> list[dict[str, str]]:
    done = subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True)
    links: list[dict[str, str]] = json.loads(done.stdout)
    return links


def inside(init: int) -> Iterator[int]:
    """Give the processes of the node and of its pods: those in its control groups."""
    group = Path(f"/proc/{init}/cgroup").read_text().splitlines()[0].partition(":")[2]
    for pid in everything():
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if group.rpartition(":")[2].split("/init")[0] in lines:
            yield pid


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a second cluster, of a short name: the kubelet's sockets are below it (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="node-") as made:
        yield Path(made)


def test_ending_its_first_process_ends_all_of_it(cluster: Cluster, folder: Path) -> None:
    before = traces(folder)
    with running(folder) as other:
        assert other.init is not None
        (node,) = other.get("nodes")["items"]
        assert node["metadata"]["name"] == "node1"
        added = traces(folder) - before
        assert [name for name in added if name.startswith("mirrord")]
        assert [name for name in added if not name.startswith(("mirrord", str(ROOT)))] == []
        processes = list(inside(other.init))
        assert len(processes) > 8
        os.kill(other.init, signal.SIGKILL)
        # the one that started it is our child, and is waited for only afterwards
        until("all have ended", lambda: {state(pid) for pid in processes} <= {"X", "Z"}, seconds=30)
    # the kernel takes a network namespace apart when it has time to
    until("nothing of it is left", lambda: not added & traces(folder), seconds=30)
    # the other one has not noticed
    assert cluster.get("nodes")["items"]
