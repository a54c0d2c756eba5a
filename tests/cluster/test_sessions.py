"""Programs in sessions in a real cluster see what a pod sees."""

import base64
import re
from collections.abc import Iterator

import pytest

from ..support.build import command
from .conftest import Session


@pytest.mark.both_users
@pytest.mark.parametrize("kind", ["sh", "go", "python", "node", "java"])
def test_a_program_sees_its_pod(kind: str, session: Session) -> None:
    found = session("deployment/web", *command(f"identity-{kind}"), options=["-v"])

    (service,) = session.cluster.get("service", "echo", "--namespace=default")["spec"]["clusterIPs"]
    assert found.lines == [
        f"greeting={session.workloads.greeting}",
        f"hostname={session.pods('app=web')[0]}",
        f"config={session.workloads.config}",
        f"echo={service}",
        f"answer={bytes(range(16)).hex()}",
    ]
    assert found.statistics["open_tcp"] >= 1


TARGETS = {
    "deployment/web": "app=web",
    "deploy/web/container/app": "app=web",
    "service/web": "app=web",
    "label/app=web": "app=web",
    "statefulset/db": "app=set",
    "daemonset/every": "app=every",
    "replicaset/copies": "app=copies",
    "job/task": "job-name=task",
    "cronjob/nightly": "job-name=nightly-now",
}


@pytest.mark.parametrize("target", TARGETS)
def test_every_kind_of_target(target: str, session: Session) -> None:
    first, *_ = session.pods(TARGETS[target])
    for one in (target, f"pod/{first}"):
        assert session(one, "hostname").lines == [first]


@pytest.fixture
def rollout(session: Session) -> Iterator[str]:
    """A rollout of Argo's that has the pods of ``web``; nobody here looks after it."""
    session.cluster.own()
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    kind = "rollouts.argoproj.io"
    session.cluster.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": kind},
            "spec": {
                "group": "argoproj.io",
                "scope": "Namespaced",
                "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout"},
                "versions": [
                    {
                        "name": "v1alpha1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": schema},
                    }
                ],
            },
        }
    )
    session.cluster.kubectl("wait", "--for=condition=Established", f"crd/{kind}", "--timeout=30s")
    session.cluster.apply(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "canary", "namespace": session.workloads.namespace},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
        }
    )
    yield "rollout/canary"
    session.cluster.kubectl("delete", f"crd/{kind}")


def test_a_rollout(rollout: str, session: Session) -> None:
    assert session(rollout, "hostname").lines == [session.pods("app=web")[0]]


def test_mounted_files_are_read(session: Session) -> None:
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    found = session("deployment/web", "cat", "/secrets/password", "/app/config.yaml", token).out
    rest, _, claims = found.rpartition(".")[0].rpartition(".")
    assert rest.startswith(f"{session.workloads.password}{session.workloads.config}\n")
    assert f"system:serviceaccount:{session.workloads.namespace}:default" in _decoded(claims)


@pytest.mark.both_users
def test_files_are_read_as_the_user_of_the_pod(session: Session) -> None:
    refused = session("deployment/web", "cat", "/private/password")
    assert (refused.code, refused.out) == (1, "")
    assert "/private/password: Permission denied" in refused.err
    assert session("statefulset/db", "cat", "/private/password").out == session.workloads.password


def _decoded(part: str) -> str:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()


def test_the_container_that_is_meant(session: Session) -> None:
    show = ("sh", "-c", "echo $GREETING")
    guessed = session("pod/meshed", *show)
    assert guessed.lines == [session.workloads.greeting]
    assert "the container is app; there are also other: name one by `/container/NAME`" in guessed.err
    assert session("pod/meshed/container/other", *show).lines == ["other"]


def test_without_a_target(session: Session) -> None:
    script = "hostname; curl -sS http://web/; cat /secrets/password 2>/dev/null || echo none"
    hostname, answer, password = session("targetless", "sh", "-c", script).lines
    assert hostname.startswith("mirrord-agent-")
    pod, greeting = answer.split()
    assert pod in session.pods("app=web")
    assert (greeting, password) == (session.workloads.greeting, "none")


def test_what_is_said(session: Session) -> None:
    said = session("deployment/web", "true").err.splitlines()
    first = session.pods("app=web")[0]
    assert re.fullmatch(
        r"mirrord: ready after \d+\.\d\d s: .* to start the agent, .* to reach it", said.pop(4)
    )
    assert said[:5] == [
        "mirrord: looking for deployment/web",
        "mirrord: deployment/web has 3 pods: incoming traffic is that of all, "
        "everything else is the first one's",
        "mirrord: starting the agent",
        "mirrord: connecting to the agent",
        f"mirrord: target pod/{first}, container app (namespace {session.workloads.namespace})",
    ]


def test_much_data_both_ways(session: Session) -> None:
    script = "curl -sS http://echo.default/bytes?n=3000000 | sha256sum; echo done"
    direct = "import hashlib; print(hashlib.sha256(bytes(i % 251 for i in range(3000000))).hexdigest())"
    expected = session.runner.run(["python3", "-c", direct]).lines[0]
    assert session("deployment/web", "sh", "-c", script).lines == [f"{expected}  -", "done"]
