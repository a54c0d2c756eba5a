"""The link in a real cluster: which way it takes, and what it outlives."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from ..support.build import SYSTEM_PYTHON
from ..support.needs import tool
from ..support.processes import marked
from ..support.running import read_line, write
from ..support.waiting import until
from .accounts import Account, roles, without
from .conftest import Session
from .test_ends import gone
from .test_incoming import SERVER

SOAK: Final = os.environ.get("MIRRORD_SOAK") == "1"
STALL: Final = 5.0
BY_PROXY: Final = "mirrord: the agent is reached through the API server's pod proxy"
BY_FORWARD: Final = (
    "mirrord: the agent is reached by port-forward: the verb `get` on `pods/proxy` is not allowed"
)
DOWNLOAD: Final = """
import hashlib, socket, sys
size = 24_000_000
sock = socket.create_connection(("echo.default", 80))
sock.sendall(b"GET /bytes?n=%d HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n" % size)
came = bytearray()
def read(until):
    while len(came) < until:
        piece = sock.recv(65_536)
        if not piece:
            sys.exit(f"the connection ended after {len(came)} bytes")
        came.extend(piece)
for quarter in (1, 2):
    read(quarter * size // 4)
    print("quarter", quarter, flush=True)
    sys.stdin.readline()
while piece := sock.recv(65_536):
    came.extend(piece)
body = came.partition(b"\\r\\n\\r\\n")[2]
expected = bytes(index % 251 for index in range(size))
print(len(body), hashlib.sha256(body).digest() == hashlib.sha256(expected).digest(), flush=True)
"""
DOWNLOADING: Final = (SYSTEM_PYTHON, "-c", DOWNLOAD)


@pytest.fixture(params=[BY_PROXY, BY_FORWARD], ids=["proxy", "forward"])
def way(request: pytest.FixtureRequest, account: Account) -> tuple[str, Path]:
    """What is said of a way to the agent, and the kubeconfig of somebody who has it."""
    rules = roles()
    if request.param == BY_FORWARD:
        rules = [without("get", "pods/proxy", role) for role in rules]
    return request.param, account(rules)


def test_no_byte_is_lost_when_the_api_server_stalls_or_restarts(
    way: tuple[str, Path], session: Session
) -> None:
    said, kubeconfig = way
    session.cluster.own()
    server, line = session.cluster, session.line("deployment/web", *DOWNLOADING, options=["-v"])
    with session.runner.start(line, env=session.environment(kubeconfig)) as process:
        assert read_line(process) == "quarter 1"
        if said == BY_PROXY:
            server.signal("apiserver", signal.SIGSTOP)
            write(process, "go\n")
            time.sleep(STALL)
            server.signal("apiserver", signal.SIGCONT)
        else:
            write(process, "go\n")
        assert read_line(process) == "quarter 2"
        server.signal("apiserver", signal.SIGKILL)
        write(process, "go\n")
        assert read_line(process) == "24000000 True"
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said in err
    assert "the link to the agent is back after" in err
    server.wait()


WAITING: Final = ("sh", "-c", "echo ready; read go; cat /app/config.yaml; echo $?")


def environment(session: Session, kubeconfig: Path | None = None, *, patience: int) -> dict[str, str]:
    """Return the variables of a session whose agent does not wait long."""
    return {**session.environment(kubeconfig), "MIRRORD_AGENT_COMMUNICATION_TIMEOUT": str(patience)}


def test_a_killed_agent_is_told_at_once(session: Session) -> None:
    session.cluster.own()
    line = session.line(f"pod/{session.pods('app=web')[0]}", *WAITING)
    with session.runner.start(line, env=session.environment()) as process:
        assert read_line(process) == "ready"
        for pid in agents():
            os.kill(pid, signal.SIGKILL)
        assert process.stderr is not None
        while "the agent is gone" not in (told := process.stderr.readline()):
            assert told
        write(process, "go\n")
        assert read_line(process) == "1"


def agents() -> Sequence[int]:
    """Return the processes of agents in pods, as this machine numbers them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"\0--listen=tls:*:7738\0" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    assert found
    return found


def test_a_killed_kubelet_is_no_matter_by_the_pod_proxy(session: Session) -> None:
    session.cluster.own()
    line = session.line("deployment/web", *WAITING)
    with session.runner.start(line, env=session.environment()) as process:
        assert read_line(process) == "ready"
        with session.cluster.held():
            session.cluster.signal("kubelet", signal.SIGKILL)
            write(process, "go\n")
            assert read_line(process) == session.workloads.config
            assert read_line(process) == "0"
        process.communicate(timeout=60)
    session.cluster.wait()


@pytest.mark.parametrize("way", [BY_FORWARD], indirect=True, ids=["forward"])
def test_a_killed_kubelet_is_told(way: tuple[str, Path], session: Session) -> None:
    session.cluster.own()
    env = environment(session, way[1], patience=3)
    line = session.line(f"pod/{session.pods('app=web')[0]}", *WAITING)
    with session.runner.start(line, env=env) as process:
        assert read_line(process) == "ready"
        with session.cluster.held():
            session.cluster.signal("kubelet", signal.SIGKILL)
            assert process.stderr is not None
            while "the agent is gone" not in (told := process.stderr.readline()):
                assert told
            assert "it could not be reached for 3 s: " in told
            write(process, "go\n")
            assert read_line(process) == "1"
        process.communicate(timeout=60)
    session.cluster.wait()


@pytest.mark.soak
@pytest.mark.parametrize("round", range(10 if SOAK else 1))
def test_three_that_are_killed_at_a_random_moment_leave_nothing(
    round: int, session: Session, record_property: Callable[[str, object], None]
) -> None:
    moment = random.Random().uniform(0.3, 5.0)
    kept = objects(session)
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(session.runner.start(line, env=environment(session, patience=3), reads=False))
            for line in busy(session)
        ]
        time.sleep(moment)
        for pid in marked(session.runner.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in started:
            process.wait(30)
    gone(session)
    until("no agent runs", lambda: not ephemeral(session), seconds=30, describe=lambda: f"killed at {moment}")
    until("no rule is left", lambda: not rules(), seconds=30, describe=lambda: "\n".join(rules()))
    assert objects(session) == kept
    record_property("sessions", len(started))
    record_property("killed after s", f"{moment:.1f}")
    record_property("left", 0)


def busy(session: Session) -> Iterator[list[str]]:
    """Give the command lines of sessions that go on for ever, with each form of agent."""
    program = ("sh", "-c", "while :; do cat /etc/hostname; done")
    yield session.line("deployment/web", SYSTEM_PYTHON, "-c", SERVER, "stolen", options=["--steal"])
    yield session.line("deployment/web", *program, options=["-e"])
    yield session.line("targetless", *program)


def objects(session: Session) -> set[str]:
    """Return what a session might leave beside its agent."""
    kinds = "secrets,configmaps,services,roles,rolebindings,serviceaccounts,networkpolicies"
    items = session.cluster.get(kinds, f"--namespace={session.workloads.namespace}")["items"]
    return {f"{item['kind']} {item['metadata']['name']}" for item in items}


def rules() -> list[str]:
    """Return the tables of nftables in the pods of this machine."""
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"\0/server/server.py\0" in (folder / "cmdline").read_bytes():
                line = ["nsenter", f"--target={folder.name}", "--net", tool("nft"), "list", "tables"]
                done = subprocess.run(line, capture_output=True, text=True, check=False)
                found += done.stdout.splitlines()
    return found


def ephemeral(session: Session) -> list[str]:
    """Return the ephemeral agents that run."""
    pods = session.cluster.get("pods", f"--namespace={session.workloads.namespace}")["items"]
    return [
        status["name"]
        for pod in pods
        for status in pod["status"].get("ephemeralContainerStatuses", [])
        if "running" in status["state"]
    ]
