import os
import subprocess
from pathlib import Path

import pytest
from mirrord_agent.containers import containers, first_process
from mirrord_agent.errors import AgentError

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


@pytest.mark.parametrize(
    "line",
    [
        f"0::/kubepods.slice/kubepods-pod9a_1.slice/cri-containerd-{ID}.scope",
        f"0::/kubepods.slice/kubepods-besteffort.slice/crio-{ID}.scope",
        f"0::/../../pod9a/{ID}",
        f"0::/system.slice/docker-{ID}.scope/init",
        f"4:memory:/kubepods/besteffort/pod9a/{ID}",
        f"1:name=systemd:/kubepods/pod9a/{ID}/user.slice",
    ],
)
def test_the_runtimes_paths(line: str) -> None:
    assert containers(f"7:cpu:/\n{line}\n") == {ID}


POD = "9a1c2f0e_3b4d_4c5e_8f60_718293a4b5c6"
BURSTABLE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD}.slice"
V1 = ("12:pids", "9:memory", "4:cpu,cpuacct", "1:name=systemd")


@pytest.mark.parametrize(
    "cgroups",
    [
        # containerd: systemd and cgroupfs as its driver, systemd's form without systemd, in a node of kind
        f"0::{BURSTABLE}/cri-containerd-{ID}.scope\n",
        f"0::/kubepods/burstable/pod{POD.replace('_', '-')}/{ID}\n",
        f"0::/system.slice/containerd.service/kubepods-burstable-pod{POD}.slice:cri-containerd:{ID}\n",
        f"0::/kubelet.slice/kubelet-kubepods.slice/pod{POD}.slice/cri-containerd-{ID}.scope\n",
        "".join(f"{one}:{BURSTABLE}/cri-containerd-{ID}.scope\n" for one in V1),
        # CRI-O: with runc, and with crun, which makes a group of its own below
        f"0::{BURSTABLE}/crio-{ID}.scope\n",
        f"0::{BURSTABLE}/crio-{ID}.scope/container\n",
        f"0::/kubepods/burstable/pod{POD}/crio-{ID}\n",
        "".join(f"{one}:/kubepods/burstable/pod{POD}/crio-{ID}\n" for one in V1),
        "".join(f"{one}:{BURSTABLE}/crio-{ID}.scope\n" for one in V1) + "0::/system.slice/crio.service\n",
        # Docker, through cri-dockerd: both drivers
        f"0::{BURSTABLE}/docker-{ID}.scope\n",
        "".join(f"{one}:{BURSTABLE}/docker-{ID}.scope\n" for one in V1),
        f"0::/kubepods/burstable/pod{POD}/{ID}\n",
        "".join(f"{one}:/kubepods/burstable/pod{POD}/{ID}\n" for one in V1),
    ],
)
def test_what_nodes_say(cgroups: str) -> None:
    assert containers(cgroups) == {ID}


def test_a_node_that_is_a_container_itself() -> None:
    """As in kind with cgroup v1: its own id is in every path; only its own processes have no other."""
    line = f"9:memory:/docker/{OTHER}/kubelet/kubepods/burstable/pod{POD}/{ID}\n"
    assert containers(line) == {OTHER, ID}


@pytest.mark.parametrize(
    "line",
    [
        "0::/",
        f"0::/kubepods/crio-conmon-{ID}.scope",
        f"0::/a.slice:crio-conmon:{ID}",
        f"0::/kubepods/pod{ID}",
        f"0::/a/{ID}0",
        "",
    ],
)
def test_other_paths(line: str) -> None:
    assert containers(line) == set()


def process(proc: Path, pid: int, started: int, container: str) -> None:
    """Describe a process as /proc does."""
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "cgroup").write_text(f"0::/kubepods/pod9a/{container}\n")
    fields = " ".join("0" for _ in range(18))
    (proc / str(pid) / "stat").write_text(f"{pid} (a ) b) S {fields} {started} 0 0\n")


def test_the_oldest_process_is_the_containers_first(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    process(tmp_path, 30, 700, ID)
    process(tmp_path, 200, 500, ID)
    process(tmp_path, 10, 100, OTHER)
    (tmp_path / "40").mkdir()
    assert first_process(ID, proc=tmp_path) == 200


def test_no_process_is_explained() -> None:
    with pytest.raises(AgentError, match="no process of the container 0123456789ab is to be seen"):
        first_process(ID)


def test_start_times_are_read_from_the_real_proc(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            for pid in (os.getpid(), child.pid):
                (tmp_path / str(pid)).mkdir()
                (tmp_path / str(pid) / "cgroup").write_text(f"0::/{ID}\n")
                (tmp_path / str(pid) / "stat").write_text(Path(f"/proc/{pid}/stat").read_text())
            assert first_process(ID, proc=tmp_path) == os.getpid()
        finally:
            child.kill()
