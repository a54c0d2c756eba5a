"""What a cluster does not allow is told in a sentence, within seconds, with its remedy."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support.waiting import until
from .accounts import Account, roles, with_token, without
from .conftest import Session


@pytest.mark.parametrize("target", ["deployment/web", "pod/meshed", "service/web", "cronjob/nightly"])
def test_the_rules_are_enough(target: str, session: Session, account: Account) -> None:
    found = session(target, "sh", "-c", "echo $GREETING", kubeconfig=account(roles()))
    assert found.lines == [session.workloads.greeting]


def test_the_rules_are_enough_for_an_ephemeral_container(session: Session, account: Account) -> None:
    show = ("sh", "-c", "echo $GREETING")
    found = session("pod/meshed", *show, options=["-e"], kubeconfig=account(roles()))
    assert found.lines == [session.workloads.greeting]


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "deployments.apps"),
        ("list", "pods"),
        ("create", "jobs.batch"),
        ("watch", "pods"),
        ("get", "pods/log"),
    ],
)
def test_a_missing_permission_is_named(verb: str, resource: str, session: Session, account: Account) -> None:
    kubeconfig = account([without(verb, resource.partition(".")[0], role) for role in roles()])
    found = session("deployment/web", "true", kubeconfig=kubeconfig)
    assert found.code == 125
    place = f"in the namespace {session.workloads.namespace}"
    (said,) = [line for line in found.err.splitlines() if "not allowed" in line]
    assert said.startswith(f"mirrord: you are not allowed to {verb} {resource} {place}; ask for the verb")
    assert "docs/rbac.yaml" in said


def test_without_any_way_to_reach_the_agent(session: Session, account: Account) -> None:
    rules = [without("get", "pods/proxy", without("create", "pods/portforward", role)) for role in roles()]
    found = session("deployment/web", "true", kubeconfig=account(rules))
    assert found.code == 125
    place = f"in the namespace {session.workloads.namespace}"
    assert f"you are not allowed to create pods/portforward {place}; ask for the verbs" in found.err


def test_unknown_credentials(session: Session, tmp_path: Path) -> None:
    kubeconfig = with_token(session.cluster, "wrong", tmp_path / "kubeconfig")
    found = session("deployment/web", "true", kubeconfig=kubeconfig)
    assert "the API server does not know who you are" in found.err


@pytest.fixture
def namespace(session: Session, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for agents, with the labels of the test's parameter."""
    name = f"agents-{session.workloads.namespace}"
    metadata = {"name": name, "labels": getattr(request, "param", {})}
    session.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield name
    session.cluster.kubectl("delete", "namespace", name, "--wait=false")
    session.cluster.kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=60s")


def enforce(policy: str) -> dict[str, str]:
    """Return the label that makes Pod Security admission enforce a policy."""
    return {"pod-security.kubernetes.io/enforce": policy}


@pytest.mark.parametrize("namespace", [enforce("baseline"), enforce("restricted")], indirect=True)
def test_a_policy_that_forbids_the_agent(namespace: str, session: Session) -> None:
    found = session("deployment/web", "true", options=["-a", namespace])
    assert found.code == 125
    assert "the cluster refuses the agent's pod: " in found.err
    assert "violates PodSecurity" in found.err
    assert "`agent.namespace`" in found.err


@pytest.mark.parametrize("namespace", [enforce("restricted")], indirect=True)
def test_without_a_target_the_strictest_policy_is_kept(namespace: str, session: Session) -> None:
    assert session("targetless", "echo", "ok", options=["-a", namespace]).lines == ["ok"]


@pytest.mark.parametrize("namespace", [enforce("privileged")], indirect=True)
def test_the_agent_in_a_namespace_of_its_own(namespace: str, session: Session) -> None:
    found = session("pod/meshed", "sh", "-c", "echo $GREETING", options=["-a", namespace])
    assert found.lines == [session.workloads.greeting]


def test_a_quota(namespace: str, session: Session) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
    }
    session.cluster.apply({**quota, "spec": {"hard": {"pods": "0"}}})
    found = session("deployment/web", "true", options=["-a", namespace])
    assert "the cluster refuses the agent's pod: " in found.err
    assert "exceeded quota: none" in found.err


def test_a_limit_range(namespace: str, session: Session) -> None:
    metadata = {"name": "small", "namespace": namespace}
    limits = [{"type": "Container", "max": {"cpu": "1m"}}]
    session.cluster.apply(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": limits}}
    )
    found = session("deployment/web", "true", options=["-a", namespace])
    assert "the cluster refuses the agent's pod: " in found.err
    assert "maximum cpu usage per Container is 1m" in found.err
    assert "`agent.resources`" in found.err


@pytest.fixture
def webhook(namespace: str, session: Session) -> Iterator[str]:
    """A webhook that has to allow each pod of the namespace, and does not answer."""
    name = f"{namespace}.example.com"
    hook = {
        "name": name,
        # the API server's own loopback, where nothing listens
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
    }
    kind = "ValidatingWebhookConfiguration"
    session.cluster.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "webhooks": [hook],
        }
    )
    yield name
    session.cluster.kubectl("delete", kind, name)


@pytest.fixture
def policy(request: pytest.FixtureRequest, namespace: str, session: Session) -> Iterator[str]:
    """A policy that denies one kind of object in the namespace; what it says."""
    group, kind, *words = request.param.split()
    name, message = f"{namespace}-{kind}", f"no {kind} on {secrets.token_hex(4)}days"
    rule = {"apiGroups": [group.strip("-")], "apiVersions": ["v1"], "operations": ["*"], "resources": [kind]}
    scope = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rules = {"matchConstraints": {"resourceRules": [rule], "namespaceSelector": scope}}
    objects = [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"ValidatingAdmissionPolicy{part}",
            "metadata": {"name": name},
            "spec": spec,
        }
        for part, spec in (
            ("", {**rules, "validations": [{"expression": "false", "message": message}]}),
            ("Binding", {"policyName": name, "validationActions": ["Deny"]}),
        )
    ]
    session.cluster.apply(*objects)
    trial = [*words, "trial", "--image=none", f"--namespace={namespace}", "--dry-run=server"]
    until("the policy is known", lambda: not session.cluster.kubectl(*trial, check=False), seconds=30)
    yield message
    for item in objects:
        session.cluster.kubectl("delete", str(item["kind"]), name)


@pytest.mark.parametrize(
    ("policy", "refusal"),
    [
        ("- pods run", "the cluster refuses the agent's pod: "),
        ("batch jobs create job", "the API server refused to create jobs.batch in the namespace "),
    ],
    indirect=["policy"],
)
def test_a_policy_that_denies(policy: str, refusal: str, namespace: str, session: Session) -> None:
    found = session("deployment/web", "true", options=["-a", namespace])
    (said,) = [line for line in found.err.splitlines() if refusal in line]
    assert f"denied request: {policy}; ask who keeps that policy" in said
    assert found.code == 125


def test_an_admission_webhook(webhook: str, namespace: str, session: Session) -> None:
    def refused() -> str:
        # the API server learns of a webhook a moment after it was made
        said = session("targetless", "true", options=["-a", namespace]).err
        return said if "refuses" in said else ""

    said = until("the webhook is asked", refused, seconds=60)
    assert "the cluster refuses the agent's pod: " in said
    assert f'failed calling webhook "{webhook}"' in said
    assert "ask who keeps that webhook" in said


def test_an_image_that_is_not_there(session: Session) -> None:
    found = session("deployment/web", "true", options=["-i", "localhost/none:test"])
    assert "the agent's container cannot be started: ErrImagePull: " in found.err
    assert "check `agent.image`" in found.err


def configured(session: Session, target: str, agent: dict[str, Any], tmp_path: Path) -> str:
    """Run a program with keys of ``agent`` set, and return what was said."""
    file = tmp_path / "mirrord.json"
    file.write_text(json.dumps({"agent": agent}))
    return session(target, "true", options=["-f", str(file)]).err


def test_no_node_for_it(session: Session, tmp_path: Path) -> None:
    said = configured(session, "targetless", {"node_selector": {"disk": "fast"}}, tmp_path)
    assert "the agent's pod cannot be scheduled: " in said
    assert "`agent.node_selector`" in said


@pytest.mark.parametrize(
    ("target", "refusal"),
    [
        ("targetless", "the agent's pod cannot be scheduled: "),
        ("deployment/web", "the agent's pod was refused by its node: "),
    ],
)
def test_no_room_for_it(target: str, refusal: str, session: Session, tmp_path: Path) -> None:
    much = {"cpu": "100000"}
    said = configured(session, target, {"resources": {"requests": much, "limits": much}}, tmp_path)
    assert refusal in said
    assert "cpu" in said.partition(refusal)[2].partition(";")[0]
    assert "`agent.resources`" in said


@pytest.mark.parametrize(
    ("capability", "sentence"),
    [
        ("SYS_ADMIN", "cannot be entered"),
        ("SYS_PTRACE", "cannot be entered"),
        ("DAC_OVERRIDE", "cannot be entered"),
        ("SETUID", "the agent may not act with the credentials of the target"),
        ("SETGID", "the agent may not act with the credentials of the target"),
    ],
)
def test_a_capability_that_is_taken_away(
    capability: str, sentence: str, session: Session, tmp_path: Path
) -> None:
    said = configured(session, "deployment/web", {"disabled_capabilities": [capability]}, tmp_path)
    assert "the agent ended at once: " in said
    assert sentence in said


def test_what_root_may_read_takes_a_capability(session: Session, tmp_path: Path) -> None:
    make = "mkdir /data; echo kept > /data/file; chown 1000 /data/file; chmod 600 /data/file"
    here = f"--namespace={session.workloads.namespace}"
    session.cluster.kubectl("exec", here, "db-0", "--", "sh", "-c", make)
    assert session("statefulset/db", "cat", "/data/file").lines == ["kept"]
    file = tmp_path / "mirrord.json"
    file.write_text(json.dumps({"agent": {"disabled_capabilities": ["DAC_OVERRIDE"]}}))
    refused = session("statefulset/db", "cat", "/data/file", options=["-f", str(file)])
    assert "/data/file: Permission denied" in refused.err


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("pod/none", "there is no pod none in the namespace "),
        ("deployment/none", "there is no deployment none in the namespace "),
        ("label/app=none", "label/app=none has no pods in the namespace "),
        ("pod/meshed/container/none", "meshed has no container none; it has "),
    ],
)
def test_a_target_that_is_not_there(target: str, sentence: str, session: Session) -> None:
    found = session(target, "true")
    assert (found.code, found.out) == (125, "")
    assert sentence in found.err


def test_a_server_that_is_not_there(session: Session, tmp_path: Path) -> None:
    config = json.loads(session.cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    said = session("pod/meshed", "true", kubeconfig=path).err
    assert "the API server cannot be reached: " in said
