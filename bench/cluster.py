"""Rows about a real cluster: the link beside ``kubectl port-forward``, and how long a session takes to start.

The cluster is that of the tests (``tests/cluster``), on this machine: it takes root and what that needs.
"""

import asyncio
import contextlib
import json
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.command import MIRRORD, ROOT, BenchError, client, output_of, run, started
from bench.options import Options
from bench.report import Budget, Line, compared
from bench.sample import Samples, parse
from mirrord.targets.kubernetes import access
from mirrord.targets.kubernetes.objects import KINDS, Pod

_ROUNDS: Final = 5
_BYTES: Final = 256 * 1024 * 1024
_CONNECTIONS: Final = 50
_STARTS: Final = 5
_PORT: Final = "8080"
_GREETING: Final = "8081"
"""The port at which the server speaks first."""
_FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)")
_PATIENCE: Final = 120.0
_SPARE: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Place:
    """The cluster, its server pod, and the kubeconfigs of who may use the pod proxy, and who may not."""

    kubectl: tuple[str, ...]
    image: str
    address: str
    proxy: Path
    forward: Path

    def session(self, kubeconfig: Path, *argv: str) -> str:
        """Run a program in a session for the server's pod, and return what it prints."""
        return run(self.line(*argv), timeout=_PATIENCE, env={"KUBECONFIG": str(kubeconfig)})

    def line(self, *argv: str) -> list[str]:
        """Return the command line of a session."""
        return [MIRRORD, "exec", "-q", "-t", "pod/server", "-i", self.image, "--", *argv]

    @contextlib.contextmanager
    def forwarded(self) -> Iterator[dict[str, str]]:
        """Keep a ``kubectl port-forward`` up; return the local port for each of the server's."""
        ports: dict[str, str] = {}
        line = [
            *self.kubectl,
            "port-forward",
            "--address=127.0.0.1",
            "pod/server",
            f":{_PORT}",
            f":{_GREETING}",
        ]
        with started(line) as process:
            while len(ports) < 2:
                found = _FORWARDING.search(output_of(process).readline())
                if found is None:
                    raise BenchError("kubectl port-forward did not start")
                ports[found[2]] = found[1]
            yield ports


def link(options: Options) -> Iterator[Line]:
    """Measure a large download, and new connections with what the server says first, each way: of itself, or
    when it is asked.
    """
    count, size = str(options.count(_CONNECTIONS)), str(options.count(_BYTES))
    bulk = [
        Samples(name, "MB/s")
        for name in ("kubectl port-forward", "mirrord, pod proxy", "mirrord, port-forward")
    ]
    greeted, asked = ([Samples(one.name) for one in bulk] for _ in range(2))
    ways = (
        ("down", _PORT, size, bulk),
        ("greeted", _GREETING, count, greeted),
        ("fresh", _PORT, count, asked),
    )
    with _cluster() as place:
        for _ in range(options.rounds(_ROUNDS)):
            with place.forwarded() as ports:
                for way, port, much, samples in ways:
                    samples[0].add(
                        parse(run(client(way, "127.0.0.1", ports[port], much), timeout=_PATIENCE))[way]
                    )
            for number, kubeconfig in enumerate((place.proxy, place.forward), 1):
                for way, port, much, samples in ways:
                    done = place.session(kubeconfig, *client(way, place.address, port, much))
                    samples[number].add(parse(done)[way])
    yield Line("bulk from a pod", bulk[0])
    yield Line("bulk from a pod", bulk[1], bulk[0], Budget(1.7, "≥ 1.7 × kubectl", at_least=True))
    yield Line("bulk from a pod", bulk[2], bulk[0], Budget(1.0, "≥ 1 × kubectl", at_least=True))
    # an answer takes a round trip more than the connection: what is asked
    for row, samples, budget in (
        ("a new connection's greeting", greeted, Budget(0.5, "≤ 0.5 × kubectl")),
        ("a new connection's answer", asked, None),
    ):
        yield from compared(row, samples, budget=budget, budget_of=samples[1].name)


def start(options: Options) -> Iterator[Line]:
    """Measure the start of the agent's pod, and how much later a program's first output comes."""
    pod, session = Samples("a pod of the agent's image"), Samples("mirrord, the program's first line")
    beyond = Samples("beyond the pod's own start")
    with _cluster() as place:
        for _ in range(options.rounds(_STARTS)):
            pod.add([asyncio.run(_pod_start(place))])
            session.add([_first_line(place)])
            beyond.add([session.values[-1] - pod.values[-1]])
    yield Line("start in a cluster", pod)
    yield Line("start in a cluster", session)
    yield Line("start in a cluster", beyond, None, Budget(_SPARE, "≤ 1 s", of_ratio=False))


def _first_line(place: _Place) -> float:
    begun = time.perf_counter()
    with started(place.line("echo", "ready"), env={"KUBECONFIG": str(place.proxy)}) as process:
        if output_of(process).readline() != "ready\n":
            raise BenchError(f"the session did not start: {process.communicate()[1]}")
        return time.perf_counter() - begun


async def _pod_start(place: _Place) -> float:
    """Time from the creation of a pod to the news that its container runs."""
    way = await access.connect(kubeconfig=str(place.proxy), context=None, accept_invalid_certificates=None)
    path = KINDS["pod"].path("default")
    try:
        begun = time.perf_counter()
        await way.create(path, _pod("lonely", place.image, ["sleep", "1000"]))
        async for _, item in way.watch(path, fieldSelector="metadata.name=lonely"):
            if any(one.state.running for one in Pod.model_validate(item).status.container_statuses):
                return time.perf_counter() - begun
        raise AssertionError("a watch does not end")
    finally:
        await way.delete(f"{path}/lonely", {"gracePeriodSeconds": 0})
        await way.close()


@contextlib.contextmanager
def _cluster() -> Iterator[_Place]:
    """Start a cluster with the server's pod."""
    import pytest

    from tests.cluster import made
    from tests.cluster.accounts import roles, with_token, without
    from tests.cluster.cluster import running

    with contextlib.ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        try:
            one = stack.enter_context(running(state))
            one.load(made.agent())
            one.apply(*_server(made.AGENT_IMAGE))
            one.kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=60s")
            one.kubectl("create", "serviceaccount", "developer")
            for role in (without("get", "pods/proxy", role) for role in roles()):
                name = role["metadata"]["name"]
                one.kubectl("apply", "-f", "-", given=json.dumps(role))
                one.kubectl(
                    "create", "rolebinding", name, f"--role={name}", "--serviceaccount=default:developer"
                )
            token = one.kubectl("create", "token", "developer").strip()
            forward = with_token(one, token, state / "forward")
            address = one.get("pod", "server")["status"]["podIP"]
        except (pytest.skip.Exception, pytest.fail.Exception) as error:
            raise BenchError(str(error)) from error
        kubectl = (*one.command, f"--kubeconfig={one.kubeconfig}")
        yield _Place(kubectl, made.AGENT_IMAGE, address, one.kubeconfig, forward)


def _server(image: str) -> list[dict[str, Any]]:
    script = (ROOT / "bench" / "programs" / "pod.py").read_text()
    metadata = {"name": "server"}
    code = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"pod.py": script}}
    pod = _pod("server", image, ["python3", "/code/pod.py", _PORT, _GREETING])
    pod["spec"]["volumes"] = [{"name": "code", "configMap": metadata}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "code", "mountPath": "/code"}]
    return [code, pod]


def _pod(name: str, image: str, command: list[str]) -> dict[str, Any]:
    container = {"name": "main", "image": image, "imagePullPolicy": "Never", "command": command}
    spec = {"nodeName": "node1", "restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
