"""Starts the node in namespaces of its own, and reaches it.

Everything of it is inside network, mount, PID and cgroup namespaces. The only way in is one pair of virtual
interfaces, which the kernel removes with the network namespace.
"""

import contextlib
import ipaddress
import json
import os
import random
import secrets
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pytest

from ..support.build import ROOT
from ..support.needs import tool
from ..support.waiting import until
from . import made
from .cgroups import Groups

_PATIENCE: Final = 180
_ADDRESSES: Final = ipaddress.ip_network("198.18.0.0/15")
"""Set aside for tests by RFC 2544; each cluster takes four of them."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One that is up: ours, or one of the user's own."""

    kubeconfig: Path
    command: tuple[str, ...]
    """What runs kubectl."""
    init: int | None = None
    """The node's first process, as this machine sees it."""
    state: Path | None = None

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """Run kubectl and return what it prints; fail the test if it fails."""
        line = [*self.command, f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(line, input=given, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            pytest.fail(f"kubectl {' '.join(arguments)}: {done.stderr}", pytrace=False)
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return an object, or a list of them, as it is."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change objects."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", given=json.dumps(items))

    def load(self, archive: Path) -> None:
        """Load an image archive into the node."""
        assert self.state is not None
        socket = self.state / "node" / "containerd.sock"
        line = ["ctr", "-a", str(socket), "-n", "k8s.io", "images", "import", str(archive)]
        done = subprocess.run([*self._inside(), *line], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.fail(f"the image cannot be loaded: {done.stderr}")

    def own(self) -> Path:
        """Return the directory of a node that is ours to disturb; skip the test if it is not."""
        if self.state is None:
            pytest.skip("a cluster of the user's own is left alone")
        return self.state

    def signal(self, component: str, number: signal.Signals) -> None:
        """Send a signal to a component of the node; one that is killed is started again, unless held."""
        pid = (self.own() / f"{component}.pid").read_text()
        subprocess.run([*self._inside(), "kill", f"-{number}", pid], check=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Start nothing again that is killed meanwhile."""
        held = self.own() / "held"
        held.touch()
        try:
            yield
        finally:
            held.unlink()

    def wait(self) -> None:
        """Wait until the API server answers, and the node is ready."""
        until("the API server answers", lambda: self.kubectl("get", "--raw=/readyz", check=False) == "ok")
        self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")

    def inside(self, *line: str) -> None:
        """Run a command in the namespaces of a node that is ours."""
        self.own()
        subprocess.run([*self._inside(), *line], check=True)

    def _inside(self) -> list[str]:
        return ["nsenter", f"--target={self.init}", "--mount", "--net", "--pid"]


def of_the_user(context: str, state: Path) -> Cluster:
    """Return the cluster of a context of the user's own kubeconfig; the agent's image must be there."""
    kubectl = tool("kubectl")
    line = [kubectl, "config", "view", "--minify", "--flatten", "--output=json", f"--context={context}"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    kubeconfig = state / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(done.stdout)
    return Cluster(kubeconfig, (kubectl,))


@contextlib.contextmanager
def running(state: Path) -> Iterator[Cluster]:
    """Keep a cluster up; ``state`` is an empty directory for its logs and its kubeconfig."""
    made.check_machine()
    binaries = made.binaries()
    made.pause(state / "pause.tar")
    token = state / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(16))
    groups = Groups()
    groups.make()
    try:
        with _node(state, binaries, groups) as (process, init):
            _wait_until_ready(process, state)
            yield Cluster(state / "kubeconfig", (str(binaries / "cluster"), "kubectl"), init, state)
    finally:
        groups.remove()


@contextlib.contextmanager
def _node(state: Path, binaries: Path, groups: Groups) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start it; in the end wait until the last process in its namespaces is gone."""
    ours, theirs = _free_addresses()
    # the network namespace is there before the node, so that its end of the pair is too
    own = ["unshare", "--net", "--mount", "--cgroup", "--propagation=private"]
    pid = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    go_ahead = ["sh", "-c", 'echo started; read -r line && exec "$@"', "sh"]
    main = [sys.executable, "-m", "tests.cluster.node", str(state), theirs, str(binaries)]
    with (state / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [*own, *go_ahead, *pid, *main],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            preexec_fn=groups.enter,
            process_group=0,
        )
    with process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != b"started\n":
                pytest.fail("the node's namespaces could not be made")
            _join_networks(process.pid, ours)
            process.stdin.write(b"go\n")
            process.stdin.flush()
            _wait_for_line(process, b"init\n", state)
            yield process, _child(process.pid)
        finally:
            _end(process)


def _free_addresses() -> tuple[str, str]:
    """Return an address for us and one for the node, of a network that nothing here uses."""
    taken = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, check=True, text=True)
    used = {
        ipaddress.ip_network(f"{info['local']}/30", strict=False)
        for link in json.loads(taken.stdout)
        for info in link["addr_info"]
    }
    networks = [network for network in _ADDRESSES.subnets(new_prefix=30) if network not in used]
    ours, theirs = random.choice(networks).hosts()
    return str(ours), str(theirs)


def _join_networks(pid: int, ours: str) -> None:
    name = f"mirrord{pid}"[:15]
    for line in (
        f"link add {name} type veth peer name up0 netns {pid}",
        f"address add {ours}/30 dev {name}",
        f"link set {name} up",
    ):
        subprocess.run(["ip", *line.split()], check=True)


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _wait_for_line(process: "subprocess.Popen[bytes]", wanted: bytes, state: Path) -> None:
    with selectors.DefaultSelector() as selector:
        stream: IO[bytes] | None = process.stdout
        assert stream is not None
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(_PATIENCE) or stream.readline() != wanted:
            logs = "\n".join(f"{log}: {_tail(log)}" for log in sorted(state.glob("*.log")))
            pytest.fail(f"the cluster did not start:\n{logs}", pytrace=False)


def _wait_until_ready(process: "subprocess.Popen[bytes]", state: Path) -> None:
    _wait_for_line(process, b"ready\n", state)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-600:]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the first process: the kernel kills the rest, and unmounts, and removes the interfaces.

    ``unshare`` ends once its child has been reaped, which is when the last process of the namespace is gone.
    """
    with contextlib.suppress(ProcessLookupError, IndexError, FileNotFoundError):
        os.kill(_child(process.pid), signal.SIGKILL)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
