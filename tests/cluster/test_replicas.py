"""A target of several pods: the traffic of every one arrives, of those that come later as well."""

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from ..support.build import SYSTEM_PYTHON
from ..support.running import read_line
from ..support.waiting import until
from .conftest import Session
from .test_incoming import SERVER, wait_for_all
from .workloads import server

_ASK: Final = """
import json, sys, urllib.request
url, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
answers, sent = {}, []
while len(answers) < count:
    sent.append(f"{path}/{len(sent)}")
    answers[urllib.request.urlopen(url + sent[-1], timeout=5).read().decode()] = sent[-1]
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
        path = f"/{secrets.token_hex(4)}"
        url = f"http://{self.name}"
        told = self.kubectl("exec", "deployment/web", "--", "python3", "-c", _ASK, url, path, str(count))
        found = json.loads(told)
        return {answer.split()[0] for answer in found["answers"]}, found["sent"]

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
            where = session.cluster.get("pod", pod, f"--namespace={session.workloads.namespace}")["status"]
            url = f"http://{where['podIP']}:8080"
            told = fleet.kubectl("exec", "deployment/web", "--", "python3", "-c", _ASK, url, "/", "1")
            assert list(json.loads(told)["answers"]) == [answer]
        program.terminate()
        program.communicate(timeout=30)
