"""The node's first process: ``python -m tests.cluster.node STATE ADDRESS BINARIES``.

It runs as PID 1 of namespaces of its own (tests/cluster/cluster.py), starts every component of Kubernetes,
prints ``ready``, and ends all of it by ending: when its standard input does, or one of the components. One
that was killed is started again, as a service manager would do it, once no file ``STATE/held`` is there.
"""

import ipaddress
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from . import cgroups

NODE: Final = "node1"
PODS: Final = "10.244.0"
SERVICES: Final = "10.96.0"
DNS: Final = f"{SERVICES}.10"
PORT: Final = 6443
PAUSE: Final = "localhost/pause:test"
_PATIENCE: Final = 90.0
_OWN: Final = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd")
"""Directories that components write to, whatever they are told; the node has its own, empty ones."""
_SYSCTLS: Final = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What the kubelet wants, and would set for the whole machine where it is not so: it sees these values."""


class Node:
    """Everything that runs here."""

    def __init__(self, state: Path, address: str, binaries: Path) -> None:
        self._state: Final = state
        """The directory that others see too."""
        self._own: Final = state / "node"
        """What nobody else sees, and what ends with the node."""
        self._address: Final = address
        self._binary: Final = binaries / "cluster"
        self._coredns: Final = binaries / "coredns"
        self._started: Final[dict[int, str]] = {}
        self._lines: Final[dict[str, tuple[str | Path, ...]]] = {}

    def run(self) -> None:
        """Start everything, say so, and stay until it is over."""
        print("init", flush=True)
        self._isolate()
        self._network()
        self._start_control_plane()
        self._start_node()
        print("ready", flush=True)
        while True:
            pid, status = os.wait()
            if pid in self._started:
                name = self._started.pop(pid)
                if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                    sys.exit(f"{name} ended with {os.waitstatus_to_exitcode(status)}")
                threading.Thread(target=self._start_again, args=(name,), daemon=True).start()

    def _start_again(self, name: str) -> None:
        while (self._state / "held").exists():
            time.sleep(0.05)
        self._start(name, *self._lines[name])

    def _isolate(self) -> None:
        _run("mount", "-t", "sysfs", "sysfs", "/sys")
        cgroups.mount()
        for directory in (*_OWN, str(self._own)):
            Path(directory).mkdir(parents=True, exist_ok=True)
            _run("mount", "-t", "tmpfs", "tmpfs", directory)
        (self._own / "sysctl").mkdir()
        for name, value in _SYSCTLS.items():
            shown = self._own / "sysctl" / name.replace("/", "-")
            shown.write_text(f"{value}\n")
            _run("mount", "--bind", str(shown), f"/proc/sys/{name}")

    def _network(self) -> None:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for line in (
            "link set lo up",
            f"address add {self._address}/30 dev up0",
            "link set up0 up",
            "link add cni0 type bridge",
            f"address add {PODS}.1/24 dev cni0",
            "link set cni0 up",
        ):
            _run("ip", *line.split())

    def _start(self, name: str, *command: str | Path) -> None:
        self._lines[name] = command
        log = (self._state / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._own,
                # the components look for a cluster that they might run in, and for a proxy to it
                env={"PATH": os.environ["PATH"], "HOME": str(self._own)},
            )
        # PID 1 waits for every process in its main loop, not by this object
        process.returncode = 0
        self._started[process.pid] = name
        (self._state / f"{name}.pid").write_text(str(process.pid))

    # The control plane.

    def _start_control_plane(self) -> None:
        self._keys()
        self._start("etcd", self._binary, "etcd", self._own / "etcd")
        self._until("etcd", lambda: _answers("http://127.0.0.1:2379/health"))
        self._start(
            "apiserver",
            self._binary,
            "apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--secure-port={PORT}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={PODS}.1",
            "--tls-cert-file=server.crt",
            "--tls-private-key-file=server.key",
            f"--service-cluster-ip-range={SERVICES}.0/16",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=accounts.pub",
            "--service-account-signing-key-file=accounts.key",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=RBAC",
            "--kubelet-preferred-address-types=InternalIP",
        )
        self._until("API server", lambda: self._kubectl("get", "--raw=/readyz") == "ok")
        self._start(
            "controller-manager",
            self._binary,
            "controller-manager",
            "--kubeconfig=kubeconfig",
            "--service-account-private-key-file=accounts.key",
            "--root-ca-file=server.crt",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
        )
        self._start("scheduler", self._binary, "scheduler", "--kubeconfig=kubeconfig", "--leader-elect=false")

    def _keys(self) -> None:
        own = self._own
        _run("openssl", "genrsa", "-out", str(own / "accounts.key"), "2048")
        _run("openssl", "rsa", "-in", str(own / "accounts.key"), "-pubout", "-out", str(own / "accounts.pub"))
        names = f"subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:{self._address}"
        names += f",IP:{PODS}.1,IP:{SERVICES}.1"
        key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(own / "server.key"))
        subject = ("-subj", "/CN=cluster", "-addext", names, "-days", "7")
        _run("openssl", "req", "-x509", *key, *subject, "-out", str(own / "server.crt"))
        token = (self._state / "token").read_text()
        (own / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
        certificate = (own / "server.crt").read_text()
        for path, host in ((own / "kubeconfig", "127.0.0.1"), (self._state / "kubeconfig", self._address)):
            path.touch(mode=0o600)
            path.write_text(json.dumps(_kubeconfig(host, certificate, token)))

    # The node.

    def _start_node(self) -> None:
        own = self._own
        (own / "cni").mkdir()
        (own / "containerd.toml").write_text(_CONTAINERD.format(own=own, pause=PAUSE))
        (own / "cni" / "10-bridge.conflist").write_text(json.dumps(_CNI))
        (own / "kubelet.yaml").write_text(json.dumps(_kubelet(own)))
        self._start("containerd", "containerd", "-c", own / "containerd.toml")
        address = own / "containerd.sock"
        self._until("containerd", lambda: _works("ctr", "-a", str(address), "version"))
        archive = str(self._state / "pause.tar")
        _run("ctr", "-a", str(address), "-n", "k8s.io", "images", "import", archive)
        self._start(
            "kubelet",
            self._binary,
            "kubelet",
            "--kubeconfig=kubeconfig",
            "--config=kubelet.yaml",
            f"--root-dir={own / 'kubelet'}",
            f"--hostname-override={NODE}",
            f"--node-ip={PODS}.1",
        )
        self._start(
            "kube-proxy",
            self._binary,
            "kube-proxy",
            "--kubeconfig=kubeconfig",
            f"--hostname-override={NODE}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={PODS}.0/24",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        )
        self._start_dns()
        ready = "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        self._until("ready node", lambda: self._kubectl("get", "node", NODE, ready) == "True")
        self._until("CoreDNS", lambda: _answers("http://127.0.0.1:8181/ready"))
        self._until("service account", lambda: bool(self._kubectl("get", "sa", "default", "-o", "name")))

    def _start_dns(self) -> None:
        """Start CoreDNS on the node; its service has the node's address as its only endpoint."""
        (self._own / "Corefile").write_text(_COREFILE.format(bind=f"{PODS}.1", own=self._own))
        self._start("coredns", self._coredns, "-conf", "Corefile")
        for item in _dns_objects():
            self._kubectl("apply", "-f", "-", given=json.dumps(item))

    def _kubectl(self, *arguments: str, given: str | None = None) -> str:
        done = subprocess.run(
            [self._binary, "kubectl", f"--kubeconfig={self._own / 'kubeconfig'}", *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                sys.exit(f"no {what} after {_PATIENCE:.0f} s; see {self._state}/*.log")
            time.sleep(0.05)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _kubeconfig(host: str, certificate: str, token: str) -> dict[str, Any]:
    import base64

    authority = base64.b64encode(certificate.encode()).decode()
    cluster = {"server": f"https://{host}:{PORT}", "certificate-authority-data": authority}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
    }


def _kubelet(own: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "failCgroupV1": False,
        "containerRuntimeEndpoint": f"unix://{own}/containerd.sock",
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS],
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "resolvConf": str(_no_resolver(own)),
    }


def _no_resolver(own: Path) -> Path:
    """Keep this machine's name servers out of the pods."""
    path = own / "resolv.conf"
    path.touch()
    return path


def _dns_objects() -> list[dict[str, Any]]:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    labels = {"kubernetes.io/service-name": "kube-dns"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": DNS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [f"{PODS}.1"]}],
            "ports": ports,
        },
    ]


_CONTAINERD: Final = """\
version = 2
root = "{own}/containerd/root"
state = "{own}/containerd/state"
[grpc]
  address = "{own}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{own}/cni"
"""
_CNI: Final = {
    "cniVersion": "0.4.0",
    "name": "test",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": f"{PODS}.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}
_COREFILE: Final = """\
.:53 {{
  bind {bind}
  errors
  ready
  kubernetes cluster.local {{
    kubeconfig {own}/kubeconfig test
  }}
}}
"""


def _end_with_input() -> None:
    """End with whoever started the node; the kernel ends what is left in the namespaces."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Run the node."""
    state, address, binaries = sys.argv[1:]
    threading.Thread(target=_end_with_input, daemon=True).start()
    Node(Path(state), str(ipaddress.ip_address(address)), Path(binaries)).run()


if __name__ == "__main__":
    main()
