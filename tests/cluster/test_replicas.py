"""A target of several pods: the traffic of every one arrives, of those that come later as well."""

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pytest

from ..support.build import SYSTEM_PYTHON
from ..support.running import read_line
from ..support.waiting import until
from .conftest import Session
from .test_incoming import SERVER, wait_for_all
from .workloads import server

_ASK: Final = """
import json, sys, urllib.request
url, path, count, headers = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
answers, sent = {}, []
while len(answers) < count:
    sent.append(f"{path}/{len(sent)}")
    request = urllib.request.Request(url + sent[-1], headers=headers)
    answers[urllib.request.urlopen(request, timeout=5).read().decode()] = sent[-1]
print(json.dumps({"answers": answers, "sent": sent}))
"""
"""Asks until that many pods have answered."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A deployment of the test's own, behind a service."""

    session: Session
    name: str

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace."""
        return self.session.cluster.kubectl(f"--namespace={self.session.workloads.namespace}", *arguments)

    def ask(self, count: int) -> tuple[set[str], list[str]]:
        """Send requests through the service until so many pods have answered; return them, and what was
        asked for.
        """
        found = self.answers(f"http://{self.name}", f"/{secrets.token_hex(4)}", count)
        return {answer.split()[0] for answer in found["answers"]}, found["sent"]

    def answers(
        self, url: str, path: str, count: int = 1, *, headers: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        """Send requests from another pod until there are so many different answers."""
        asking = ("exec", "daemonset/every", "--", "python3", "-c", _ASK)
        found: dict[str, Any] = json.loads(
            self.kubectl(*asking, url, path, str(count), json.dumps(dict(headers)))
        )
        return found

    def url(self, pod: str) -> str:
        """Return where a pod of it is."""
        where = f"--namespace={self.session.workloads.namespace}"
        return f"http://{self.session.cluster.get('pod', pod, where)['status']['podIP']}:8080"

    def pods(self) -> list[str]:
        """Return their names, the oldest first."""
        return self.session.pods(f"app={self.name}")


@pytest.fixture
def fleet(session: Session) -> Iterator[Fleet]:
    """Three pods."""
    name = f"fleet-{secrets.token_hex(3)}"
    labels = {"app": name}
    metadata = {"name": name, "namespace": session.workloads.namespace}
    container = {**server("app"), "volumeMounts": [{"name": "server", "mountPath": "/server"}]}
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "server", "configMap": {"name": "server"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    ports = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    session.cluster.apply(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": ports},
    )
    one = Fleet(session, name)
    one.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
    yield one
    one.kubectl("delete", f"deployment/{name}", f"service/{name}", "--wait=false")


def expect(paths: list[str], program: "subprocess.Popen[str]") -> None:
    """Read the program's lines until each of these requests has reached it."""
    left = set(paths)
    while left:
        left.discard(read_line(program))


def wait_for_ports(pods: set[str], done: str, program: "subprocess.Popen[str]") -> None:
    """Wait until the port of each of these pods is mirrored, or stolen."""
    wait_for_all({f"port 8080 of {pod} is {done}" for pod in pods}, program)


def test_requests_to_every_pod_arrive_before_and_after_a_rolling_update(fleet: Fleet) -> None:
    session = fleet.session
    line = session.line(f"deployment/{fleet.name}", SYSTEM_PYTHON, "-c", SERVER, "ignored")
    with session.runner.start(line, env=session.environment()) as program:
        before = set(fleet.pods())
        wait_for_ports(before, "mirrored", program)
        answered, paths = fleet.ask(3)
        assert answered == before
        expect(paths, program)

        fleet.kubectl("rollout", "restart", f"deployment/{fleet.name}")
        fleet.kubectl("rollout", "status", f"deployment/{fleet.name}", "--timeout=60s")
        until("the old pods are gone", lambda: not before & set(fleet.pods()))
        after = set(fleet.pods())
        wait_for_ports(after, "mirrored", program)
        answered, paths = fleet.ask(3)
        assert answered == after
        expect(paths, program)
        program.terminate()
        program.communicate(timeout=30)


def test_requests_to_every_pod_are_stolen(fleet: Fleet) -> None:
    session = fleet.session
    answer = secrets.token_hex(8)
    line = session.line(
        f"service/{fleet.name}", SYSTEM_PYTHON, "-c", SERVER, answer, options=["--steal", "-e"]
    )
    with session.runner.start(line, env=session.environment()) as program:
        wait_for_ports(set(fleet.pods()), "stolen", program)
        for pod in fleet.pods():
            assert list(fleet.answers(fleet.url(pod), "/")["answers"]) == [answer]
        program.terminate()
        program.communicate(timeout=30)


_FOLLOWING: Final = """
import http.server, sys, urllib.request
def say(text):
    # each line by one write: print makes two, and there is a thread for each request
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/look"):
            with open("/etc/hostname") as file:
                say("at " + file.read().strip())
            with urllib.request.urlopen("http://web/", timeout=20) as answer:
                say(f"answered {answer.status}")
        say(self.path)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
"""Tells of each request; of one for ``/look``, what it then sees of its pod and reaches from there."""
_TRAFFIC: Final = """
import sys, threading, urllib.request
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
while not over.wait(0.05):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5).read()
    except OSError:
        continue
"""


@pytest.fixture
def traffic(fleet: Fleet) -> Iterator[None]:
    """Have requests go through the service all the time."""
    line = [*fleet.session.cluster.command, f"--kubeconfig={fleet.session.cluster.kubeconfig}"]
    line += [f"--namespace={fleet.session.workloads.namespace}", "exec", "-i", "deployment/web", "--"]
    line += ["python3", "-c", _TRAFFIC, f"http://{fleet.name}/traffic"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as asking:
        yield
        assert asking.stdin is not None
        asking.stdin.close()
        assert asking.wait(60) == 0


@pytest.mark.usefixtures("traffic")
def test_the_first_pod_is_deleted_and_another_takes_its_place(fleet: Fleet) -> None:
    session = fleet.session
    line = session.line(f"deployment/{fleet.name}", SYSTEM_PYTHON, "-c", _FOLLOWING)
    with session.runner.start(line, env=session.environment()) as program:
        first, *others = fleet.pods()
        wait_for_ports({first, *others}, "mirrored", program)
        look(fleet, others[0], program, at={first})

        fleet.kubectl("delete", "pod", first)
        wait_for_all({": files, names and new connections are those of pod "}, program)
        until("there are three again", lambda: len(fleet.pods()) == 3)
        fleet.kubectl("rollout", "status", f"deployment/{fleet.name}", "--timeout=60s")
        (new,) = set(fleet.pods()) - set(others)
        wait_for_ports({new}, "mirrored", program)
        look(fleet, new, program, at={new, *others})
        answered, paths = fleet.ask(3)
        assert answered == {new, *others}
        expect(paths, program)
        program.terminate()
        program.communicate(timeout=30)


def look(fleet: Fleet, pod: str, program: "subprocess.Popen[str]", *, at: set[str]) -> None:
    """Have the program look at where it is, by a request to one of the pods."""
    fleet.answers(fleet.url(pod), "/look")
    while not (line := read_line(program)).startswith("at "):
        continue
    assert line.removeprefix("at ") in at
    while not (line := read_line(program)).startswith("answered "):
        continue
    assert line == "answered 200"


@pytest.mark.usefixtures("traffic")
def test_the_way_to_one_pod_is_cut(fleet: Fleet) -> None:
    session = fleet.session
    session.cluster.own()
    line = session.line(f"deployment/{fleet.name}", SYSTEM_PYTHON, "-c", _FOLLOWING, options=["-v"])
    with session.runner.start(line, env=session.environment()) as program:
        first, *others = fleet.pods()
        wait_for_ports({first, *others}, "mirrored", program)
        rule = f"-p tcp --dport 7738 -d {agent_of(fleet, others[0])} -j REJECT --reject-with tcp-reset"
        session.cluster.inside("iptables", "-I", "OUTPUT", *rule.split())
        wait_for_all({"the link to the agent is back after"}, program)
        answered, paths = fleet.ask(3)
        assert answered == {first, *others}
        expect(paths, program)
        session.cluster.inside("iptables", "-D", "OUTPUT", *rule.split())
        program.terminate()
        program.communicate(timeout=30)


def agent_of(fleet: Fleet, pod: str) -> str:
    """Return the address of the agent beside a pod."""
    where = f"--namespace={fleet.session.workloads.namespace}"
    (status,) = fleet.session.cluster.get("pod", pod, where)["status"]["containerStatuses"]
    container = status["containerID"].rpartition("//")[2]
    agents = fleet.session.cluster.get("pods", where, "--selector=app=mirrord")["items"]
    (found,) = [
        one for one in agents if f"--container-id={container}" in one["spec"]["containers"][0]["args"]
    ]
    return str(found["status"]["podIP"])
