"""However a session ends, nothing of it stays in the cluster."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mirrord.errors import EXIT_MIRRORD

from ..support.build import SYSTEM_PYTHON
from ..support.processes import Chain, marked
from ..support.running import read_line
from ..support.serving import serving
from ..support.waiting import until
from .conftest import Session


@contextmanager
def ready(session: Session, target: str = "deployment/web") -> Iterator["subprocess.Popen[str]"]:
    """Start a program that says its pod's name and then waits for its input to end."""
    line = session.line(target, "sh", "-c", "hostname; cat; curl -sS -m 5 http://web/; echo $?")
    env = {**session.environment(), "MIRRORD_AGENT_COMMUNICATION_TIMEOUT": "5"}
    with session.runner.start(line, env=env) as process:
        assert read_line(process) in session.pods("app=web")
        yield process


def gone(session: Session) -> None:
    """Wait until no agent is left, and no process of the session here."""
    until("the agents are gone", lambda: not session.agents(), seconds=60)
    until("the processes are gone", lambda: not marked(session.runner.mark))


def test_the_end_of_the_program(session: Session) -> None:
    with ready(session) as process:
        assert len(session.agents()) == 2
        out, _ = process.communicate(timeout=30)
    assert out.split()[1] == session.workloads.greeting
    gone(session)


@pytest.mark.parametrize("victim", ["front", "supervisor"])
def test_killed(victim: str, session: Session) -> None:
    with ready(session) as process:
        os.kill(getattr(Chain.of(process.pid), victim), signal.SIGKILL)
        gone(session)


def test_the_job_of_a_killed_client_is_removed_by_its_time_to_live(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "mirrord.json"
    file.write_text(json.dumps({"agent": {"ttl": 2, "communication_timeout": 2}}))
    (pod,) = session.pods("app=set")
    line = session.line(f"pod/{pod}", "sh", "-c", "hostname; cat", options=["-f", str(file)])
    with session.runner.start(line, env=session.environment()) as process:
        assert read_line(process) == pod
        (job,) = session.cluster.get("jobs", "--all-namespaces", "--selector=app=mirrord")["items"]
        assert job["spec"]["ttlSecondsAfterFinished"] == 2
        with watching(session, job["metadata"]["name"]) as said:
            kill_all(session)
            *_, (_, before), (last, after) = until_gone(said)
    # nobody here was there any more, and it went only when its agent had ended by itself
    assert last == "DELETED"
    assert "Complete" in before & after
    gone(session)


def kill_all(session: Session) -> None:
    """Kill every process of the session here."""
    for pid in marked(session.runner.mark):
        # some end with others
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until("the processes are gone", lambda: not marked(session.runner.mark))


@contextmanager
def watching(session: Session, job: str) -> Iterator["subprocess.Popen[str]"]:
    """Watch a Job, which is there: each line is an event of the API server's."""
    path = f"/apis/batch/v1/namespaces/{session.workloads.namespace}/jobs"
    query = f"watch=1&fieldSelector=metadata.name={job}"
    line = [*session.cluster.command, f"--kubeconfig={session.cluster.kubeconfig}", "get", "--raw"]
    with subprocess.Popen([*line, f"{path}?{query}"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert json.loads(read_line(process))["type"] == "ADDED"
            yield process
        finally:
            process.kill()


def until_gone(watch: "subprocess.Popen[str]") -> Iterator[tuple[str, set[str]]]:
    """Give what happens to a Job, its end included, each time with the states that it is in."""
    happened = ""
    while happened != "DELETED":
        event = json.loads(read_line(watch))
        happened = event["type"]
        yield happened, {one["type"] for one in event["object"]["status"].get("conditions", ())}


HELD = """
import http.server, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/held":
            print("held", flush=True)
            threading.Event().wait()
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"local\\n")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
ASK_HELD = """
import socket, sys
with socket.create_connection((sys.argv[1], 80)) as sock:
    sock.sendall(b"GET /held HTTP/1.1\\r\\nHost: a\\r\\nX-Me: yes\\r\\n\\r\\n")
    try:
        print(sock.recv(65536).decode().partition("\\r\\n")[0] or "closed")
    except ConnectionResetError:
        print("reset")
"""


@pytest.mark.parametrize(("ephemeral", "filtered"), [(False, True), (False, False), (True, True)])
def test_a_killed_supervisor_leaves_requests_to_the_pod(
    ephemeral: bool, filtered: bool, session: Session, tmp_path: Path
) -> None:
    incoming = {"mode": "steal", **({"http_filter": {"header_filter": "^x-me: yes$"}} if filtered else {})}
    # of a Job that is deleted nobody waits for the client
    agent = {"ephemeral": ephemeral, "communication_timeout": 5 if ephemeral else 600}
    file = tmp_path / "mirrord.json"
    file.write_text(json.dumps({"feature": {"network": {"incoming": incoming}}, "agent": agent}))
    (pod,) = session.pods("app=set")
    line = session.line(f"pod/{pod}", SYSTEM_PYTHON, "-c", HELD, options=["-f", str(file)])
    with serving(session.runner, line, env=session.environment()) as one:
        one.wait(f"port 8080 of {pod} is stolen")
        with asking(session) as held:
            one.wait("^held$")
            os.kill(Chain.of(one.process.pid).supervisor, signal.SIGKILL)
            until("the pod answers", lambda: answer(session).startswith(pod), seconds=30)
            assert read_line(held) in (["HTTP/1.1 502 Bad Gateway"] if filtered else ["closed", "reset"])
        assert one.end() == EXIT_MIRRORD
    gone(session)


@contextmanager
def asking(session: Session) -> Iterator["subprocess.Popen[str]"]:
    """Send a request that the program does not answer; what comes of it is printed."""
    line = [*session.cluster.command, f"--kubeconfig={session.cluster.kubeconfig}", "exec", "daemonset/every"]
    line += [f"--namespace={session.workloads.namespace}", "--", "python3", "-c", ASK_HELD, "set"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        yield process


def answer(session: Session) -> str:
    """Return what the service of one pod answers, nothing where its connection is refused or reset."""
    ask = "import urllib.request as u; q = u.Request('http://set/', headers={'X-Me': 'yes'})"
    ask += "; print(u.urlopen(q, timeout=5).read().decode())"
    where = f"--namespace={session.workloads.namespace}"
    return session.cluster.kubectl("exec", where, "daemonset/every", "--", "python3", "-c", ask, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ended_by_a_signal(number: signal.Signals, session: Session) -> None:
    with ready(session) as process:
        os.kill(process.pid, number)
        process.communicate(timeout=30)
    gone(session)


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_interrupted_while_the_agent_starts(kill: Callable[[int, int], None], session: Session) -> None:
    line = session.line("deployment/web", "true", options=["-v"])
    with session.runner.start(line, env=session.environment()) as process:
        assert process.stderr is not None
        while "was created in the namespace" not in (said := process.stderr.readline()):
            assert said
        kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert "interrupted before the program was started" in said
    gone(session)


def test_two_at_once(session: Session) -> None:
    with ready(session) as one, ready(session, "service/web") as other:
        assert len(session.agents()) == 4
        for process in (one, other):
            out, _ = process.communicate(timeout=30)
            assert out.split()[1] == session.workloads.greeting


@pytest.mark.parametrize("kind", ["pod", "deployment"])
def test_the_target_is_deleted(kind: str, session: Session) -> None:
    first = session.pods("app=web")[0]
    with ready(session, "deployment/web" if kind == "deployment" else f"pod/{first}") as process:
        here = f"--namespace={session.workloads.namespace}"
        session.cluster.kubectl("delete", "pod", here, first)
        told = "what was remote fails from now on" if kind == "pod" else "new connections are those of pod "
        assert process.stderr is not None
        while told not in (said := process.stderr.readline()):
            assert said
        out, _ = process.communicate(timeout=30)
    # of a deployment another pod has taken its place
    assert (out.split()[-1] == "0") is (kind == "deployment")
    session.cluster.kubectl("rollout", "status", here, "deployment/web", "--timeout=60s")
    until("three are left", lambda: len(session.pods("app=web")) == 3, seconds=30)
