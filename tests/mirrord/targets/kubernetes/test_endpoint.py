import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pytest
from kubernetes.aio.client.exceptions import ApiException
from mirrord_agent.wire.websocket import WebSocket

from mirrord.errors import AgentGone, LinkError, MirrordError, TargetError
from mirrord.targets.kubernetes import endpoint as module
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.endpoint import PodEndpoint, use_proxy
from mirrord.targets.kubernetes.manifest import Ports

from .test_forward import run

REACHED: Final = cast(WebSocket, object())


@dataclass
class Cluster:
    """What a cluster answers, and what it was asked for."""

    pods: list[dict[str, Any]] | Exception = field(default_factory=list)
    allowed: dict[str, Any] | Exception = field(default_factory=dict)
    direct: bool = True
    proxy: WebSocket | MirrordError = REACHED
    forward: WebSocket | MirrordError = REACHED
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        if isinstance(self.pods, Exception):
            raise self.pods
        return {"items": self.pods}

    async def create(self, path: str, body: Any) -> dict[str, Any]:
        if isinstance(self.allowed, Exception):
            raise self.allowed
        return {"status": self.allowed}

    def way(self, name: str) -> Callable[..., Any]:
        async def open(access: object, namespace: str, pod: str, port: int) -> WebSocket:
            self.asked.append(f"{name} {namespace}/{pod}:{port}")
            found: WebSocket | MirrordError = getattr(self, name)
            if isinstance(found, MirrordError):
                raise found
            return found

        return open

    def info(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def step(self, doing: str, purpose: str) -> None: ...

    def detail(self, text: str) -> None:
        self.said.append(text)

    @property
    def access(self) -> Access:
        return cast(Access, self)

    def endpoint(self, *, tls: int | None = 2) -> PodEndpoint:
        return PodEndpoint(
            self.access,
            namespace="prod",
            pod="agent-1",
            container="mirrord-agent",
            ports=Ports(1, tls),
            key=bytes(32),
            tell=self,
        )


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    one = Cluster()
    monkeypatch.setattr(module, "proxied", one.way("proxy"))
    monkeypatch.setattr(module, "forwarded", one.way("forward"))
    monkeypatch.setattr(module, "is_direct", lambda access: one.direct)
    return one


def test_the_pod_proxy_comes_first(cluster: Cluster) -> None:
    async def check() -> None:
        assert await cluster.endpoint().open() is REACHED

    run(check)
    assert cluster.asked == ["proxy prod/agent-1:2"]
    assert cluster.said == ["the agent is reached through the API server's pod proxy"]


def test_what_the_network_does_not_let_through_is_not_tried_again(cluster: Cluster) -> None:
    cluster.proxy = LinkError("no answer within 5 s")

    async def check() -> None:
        endpoint = cluster.endpoint()
        for _ in range(2):
            assert await endpoint.open() is REACHED

    run(check)
    assert cluster.asked == ["proxy prod/agent-1:2", "forward prod/agent-1:1", "forward prod/agent-1:1"]
    assert cluster.said[0] == "no answer within 5 s"


def test_without_the_proxy_there_is_port_forward(cluster: Cluster) -> None:
    async def check() -> None:
        await cluster.endpoint(tls=None).open()

    run(check)
    assert cluster.asked == ["forward prod/agent-1:1"]


def status(**container: Any) -> dict[str, Any]:
    """Return the status of a pod that runs, with one container."""
    return {
        "status": {"phase": "Running", "containerStatuses": [{"name": "mirrord-agent", "state": container}]}
    }


@pytest.mark.parametrize(
    ("pods", "gone"),
    [
        ([], True),
        ([{"status": {"phase": "Failed"}}], True),
        ([status(terminated={"exitCode": 137})], True),
        ([status(running={})], False),
        (ApiException(status=403), False),
        (OSError("the API server restarts"), False),
    ],
)
def test_an_agent_that_has_ended_is_known_by_its_pod(
    pods: list[dict[str, Any]] | Exception, gone: bool, cluster: Cluster
) -> None:
    cluster.proxy = cluster.forward = LinkError("refused")
    cluster.pods = pods

    async def check() -> None:
        endpoint = cluster.endpoint()
        with pytest.raises(AgentGone if gone else LinkError) as caught:
            await endpoint.open()
        assert isinstance(caught.value, AgentGone) is gone
        with contextlib.suppress(LinkError):
            await endpoint.open()

    run(check)
    # both ways are tried each time
    assert [one.split()[0] for one in cluster.asked] == ["proxy", "forward"] * 2


def test_a_missing_permission_is_told(cluster: Cluster) -> None:
    cluster.forward = TargetError("you are not allowed to create pods/portforward")

    async def check() -> None:
        with pytest.raises(TargetError, match="not allowed"):
            await cluster.endpoint(tls=None).open()

    run(check)


@pytest.mark.parametrize(
    ("allowed", "direct", "expected", "said"),
    [
        ({"allowed": True}, True, True, []),
        ({"allowed": False}, True, False, ["`get` on `pods/proxy` is not allowed"]),
        ({}, True, False, ["`get` on `pods/proxy` is not allowed"]),
        (ApiException(status=403), True, False, ["`get` on `pods/proxy` is not allowed"]),
        ({"allowed": True}, False, False, ["the API server is behind a proxy"]),
    ],
)
def test_the_proxy_is_used_where_it_may_be(
    allowed: dict[str, Any] | Exception, direct: bool, expected: bool, said: list[str], cluster: Cluster
) -> None:
    cluster.allowed, cluster.direct = allowed, direct

    async def check() -> None:
        assert await use_proxy(cluster.access, "prod", cluster) is expected

    run(check)
    assert [part in line for part, line in zip(said, cluster.said, strict=True)] == [True] * len(said)
