"""One cluster for all tests that want one, with the workloads that they impersonate."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ..support.running import Outcome, Runner
from ..support.user import NOBODY, User
from ..support.waiting import until
from . import made
from .accounts import Account, with_token
from .cluster import Cluster, of_the_user, running
from .workloads import Workloads, echo

_READY = "--timeout=90s"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of the cluster the time that it takes to start."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800, func_only=False))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that is up, with the agent's image: our own, or that of MIRRORD_TEST_CONTEXT."""
    state = tmp_path_factory.mktemp("cluster")
    if context := os.environ.get("MIRRORD_TEST_CONTEXT"):
        yield of_the_user(context, state)
        return
    with running(state) as one:
        one.load(made.agent())
        yield one


@pytest.fixture(scope="session")
def workloads(cluster: Cluster) -> Iterator[Workloads]:
    """Workloads that are ready; a cluster that is not ours is left as it was."""
    made_here = Workloads()
    cluster.apply(*echo(), *made_here.objects())
    here = f"--namespace={made_here.namespace}"
    cluster.kubectl("create", "job", here, "--from=cronjob/nightly", "nightly-now")
    cluster.kubectl("rollout", "status", "deployment/echo", _READY)
    for name in ("deployment/web", "statefulset/db", "daemonset/every"):
        cluster.kubectl("rollout", "status", here, name, _READY)
    cluster.kubectl("wait", here, "--for=condition=Ready", "pods", "--all", _READY)
    yield made_here
    if cluster.init is None:
        cluster.kubectl("delete", "namespace", made_here.namespace)
        cluster.kubectl("delete", "--namespace=default", "deployment/echo", "service/echo", "configmap/echo")


@dataclass(frozen=True, slots=True)
class Session:
    """Runs programs in sessions in the cluster."""

    cluster: Cluster
    workloads: Workloads
    runner: Runner
    kubeconfig: Path

    def line(self, target: str, *argv: str, options: Sequence[str] = ()) -> list[str]:
        """Return a command line."""
        fixed = ["-t", target, "-n", self.workloads.namespace, "-i", made.AGENT_IMAGE]
        return [self.runner.user.mirrord, "exec", *fixed, *options, "--", *argv]

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """Return the variables that a session needs."""
        return {"KUBECONFIG": str(kubeconfig or self.kubeconfig)}

    def __call__(
        self,
        target: str,
        *argv: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        kubeconfig: Path | None = None,
    ) -> Outcome:
        """Run a program to its end."""
        variables = {**self.environment(kubeconfig), **(env or {})}
        return self.runner.run(self.line(target, *argv, options=options), env=variables)

    def pods(self, selector: str, *, namespace: str | None = None) -> list[str]:
        """Return the names of pods, the oldest first."""
        where = f"--namespace={namespace or self.workloads.namespace}"
        items = self.cluster.get("pods", where, f"--selector={selector}")["items"]
        items.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        return [pod["metadata"]["name"] for pod in items]

    def agents(self) -> list[str]:
        """Return what there is of agents: their Jobs and their pods, everywhere."""
        items = self.cluster.get("jobs,pods", "--all-namespaces", "--selector=app=mirrord")["items"]
        return [f"{item['kind']} {item['metadata']['name']}" for item in items]


@pytest.fixture
def session(cluster: Cluster, workloads: Workloads, runner: Runner) -> Iterator[Session]:
    """Run programs in sessions; after each test no agent may be left."""
    one = Session(cluster, workloads, runner, _kubeconfig(cluster, runner.user))
    yield one
    until("no agent is left", lambda: not one.agents(), seconds=30, describe=lambda: "\n".join(one.agents()))


def _kubeconfig(cluster: Cluster, user: User) -> Path:
    """Return a kubeconfig that this user can read, and nobody else."""
    path = user.home / "kubeconfig"
    shutil.copy(cluster.kubeconfig, path)
    path.chmod(0o600)
    if user.prefix:
        os.chown(path, NOBODY, NOBODY)
    return path


@pytest.fixture
def agent_pod(session: Session) -> Callable[[], str]:
    """Return the name of the only agent's pod that runs."""

    def find() -> str:
        (pod,) = [line.removeprefix("Pod ") for line in session.agents() if line.startswith("Pod ")]
        return pod

    return find


@pytest.fixture
def account(session: Session, tmp_path: Path) -> Iterator[Account]:
    """Make a service account with these roles, and return its kubeconfig."""
    cluster, here = session.cluster, f"--namespace={session.workloads.namespace}"

    def make(wanted: list[dict[str, Any]]) -> Path:
        cluster.kubectl("create", "serviceaccount", here, "developer")
        subject = f"--serviceaccount={session.workloads.namespace}:developer"
        for role in wanted:
            name = role["metadata"]["name"]
            cluster.kubectl("apply", here, "-f", "-", given=json.dumps(role))
            cluster.kubectl("create", "rolebinding", here, name, f"--role={name}", subject)
        token = cluster.kubectl("create", "token", here, "developer").strip()
        return with_token(cluster, token, tmp_path / "kubeconfig")

    yield make
    names = "role/mirrord-target role/mirrord-agent rolebinding/mirrord-target rolebinding/mirrord-agent"
    cluster.kubectl("delete", here, "--ignore-not-found", "serviceaccount/developer", *names.split())
