import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import pytest
from kubernetes.aio.client.exceptions import ApiException

from mirrord.errors import TargetError
from mirrord.link.endpoint import AgentEndpoint
from mirrord.targets.base import Replica
from mirrord.targets.kubernetes import replicas as module
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.agents import Agents
from mirrord.targets.kubernetes.choose import Chosen, Pods
from mirrord.targets.kubernetes.replicas import Replicas

from .test_starting import Said

PODS = Pods("prod", None, {"labelSelector": "app=web"})


def chosen(pod: str, id: str = "1") -> Chosen:
    return Chosen(pod=pod, namespace="prod", node="node", container="app", id=id)


def event(kind: str, name: str, id: str = "1", *, ending: bool = False, ready: bool = True) -> Any:
    """Return what a watch says of a pod."""
    state: dict[str, Any] = {"running": {}}
    status = {"name": "app", "ready": ready, "containerID": f"containerd://{id}", "state": state}
    metadata = {"name": name, "namespace": "prod", **({"deletionTimestamp": "now"} if ending else {})}
    return kind, {
        "metadata": metadata,
        "spec": {"nodeName": "node", "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "containerStatuses": [status]},
    }


class Cluster:
    """An API server that is watched, and agents that are started at once, unless a pod has none."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.started: list[tuple[str, str]] = []
        self.refused: set[str] = set()
        self.slow: set[str] = set()

    async def watch(self, path: str, **query: str) -> AsyncIterator[Any]:
        self.asked.append((path, query))
        while True:
            event = await self.events.get()
            if isinstance(event, Exception):
                raise event
            yield event
            self.events.task_done()

    async def start(self, chosen: Chosen) -> AgentEndpoint:
        self.started.append((chosen.pod, chosen.id))
        if chosen.pod in self.slow:
            await asyncio.get_running_loop().create_future()
        if chosen.pod in self.refused:
            raise TargetError("no room")
        return AgentEndpoint(chosen.pod, b"")

    async def tell(self, *events: Any) -> None:
        """Have the watch say something, and wait until it has been heard."""
        for event in events:
            self.events.put_nowait(event)
        await self.events.join()


Scenario = Callable[[Cluster, Replicas, list[str]], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    async def run() -> None:
        cluster, said = Cluster(), Said()
        one = Replicas(cast(Access, cluster), PODS, cast(Agents, cluster), said)
        one.follow(chosen("web-1"), [chosen("web-2")])
        async with asyncio.timeout(20):
            await scenario(cluster, one, said.lines)
            await one.close()

    asyncio.run(run())


def names(replicas: list[Replica]) -> list[str]:
    return [replica.name for replica in replicas]


def test_the_others_get_agents_when_they_are_wanted() -> None:
    async def scenario(cluster: Cluster, replicas: Replicas, said: list[str]) -> None:
        await cluster.tell(event("ADDED", "web-1"), event("ADDED", "web-2"), event("ADDED", "web-3"))
        assert cluster.started == []
        assert names(await replicas.ready()) == ["web-2", "web-3"]
        assert cluster.started == [("web-2", "1"), ("web-3", "1")]
        assert cluster.asked == [("/api/v1/namespaces/prod/pods", {"labelSelector": "app=web"})]
        assert said == []

    play(scenario)


def test_a_pod_that_comes_gets_an_agent_before_it_is_ready() -> None:
    async def scenario(cluster: Cluster, replicas: Replicas, said: list[str]) -> None:
        await replicas.ready()
        later = replicas.later()
        await cluster.tell(event("MODIFIED", "web-3", ready=False), event("MODIFIED", "web-3"))
        assert (await anext(later)).name == "web-3"
        # the container was started anew, and its agent has ended with the old one
        await cluster.tell(event("MODIFIED", "web-3", "2"))
        assert (await anext(later)).name == "web-3"
        assert cluster.started[1:] == [("web-3", "1"), ("web-3", "2")]

    play(scenario)


def test_pods_that_go() -> None:
    async def scenario(cluster: Cluster, replicas: Replicas, said: list[str]) -> None:
        await cluster.tell(event("MODIFIED", "web-2", ending=True))
        assert await replicas.ready() == []
        leaving = asyncio.ensure_future(replicas.leaving())
        await asyncio.sleep(0)
        assert not leaving.done()
        await cluster.tell(event("MODIFIED", "web-1", ending=True), event("DELETED", "web-1"))
        await leaving
        # who looks for another tells of it
        assert said == []

    play(scenario)


def test_an_agent_that_cannot_be_started_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)

    async def scenario(cluster: Cluster, replicas: Replicas, said: list[str]) -> None:
        cluster.refused, cluster.slow = {"web-3"}, {"web-4"}
        await cluster.tell(event("ADDED", "web-3"), event("ADDED", "web-4"))
        assert names(await replicas.ready()) == ["web-2"]
        assert said == [
            "warning: the traffic of pod web-3 does not arrive here: no room",
            "not every pod has an agent yet; the others follow",
        ]

    play(scenario)


def test_a_watch_that_breaks_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0)

    async def scenario(cluster: Cluster, replicas: Replicas, said: list[str]) -> None:
        await replicas.ready()
        cluster.events.put_nowait(ConnectionError("gone"))
        cluster.events.put_nowait(event("ADDED", "web-3"))
        assert (await anext(replicas.later())).name == "web-3"
        assert len(cluster.asked) == 2

    play(scenario)


def test_without_the_permission_to_watch_nobody_is_followed() -> None:
    async def scenario(cluster: Cluster, replicas: Replicas, said: list[str]) -> None:
        cluster.events.put_nowait(
            ApiException(status=403, body='{"message": "u cannot watch resource pods"}')
        )
        while not said:
            await asyncio.sleep(0)
        assert said[0].startswith("pods that come and go are not followed: you are not allowed to watch pods")
        assert names(await replicas.ready()) == ["web-2"]
        assert len(cluster.asked) == 1

    play(scenario)


def test_the_first_pod_is_followed_by_the_youngest_that_can_be_had() -> None:
    async def scenario(cluster: Cluster, replicas: Replicas, said: list[str]) -> None:
        cluster.refused = {"web-4"}
        await cluster.tell(*(event("ADDED", f"web-{number}") for number in (1, 3, 4)))
        leaving = asyncio.ensure_future(replicas.leaving())
        await cluster.tell(event("MODIFIED", "web-1", ending=True))
        await leaving
        successor = await replicas.successor()
        assert successor is not None
        assert successor.name == "web-3"
        assert said == ["warning: the traffic of pod web-4 does not arrive here: no room"]
        replicas.leads("web-3")

        # it has its agent already where all pods get one
        assert names(await replicas.ready()) == ["web-2"]
        assert await replicas.successor() is None
        leaving = asyncio.ensure_future(replicas.leaving())
        await cluster.tell(event("DELETED", "web-1"))
        assert not leaving.done()
        await cluster.tell(event("DELETED", "web-3"))
        await leaving

    play(scenario)


def test_one_that_has_gone_before_it_leads_is_left_at_once() -> None:
    async def scenario(cluster: Cluster, replicas: Replicas, said: list[str]) -> None:
        await cluster.tell(event("DELETED", "web-2"))
        replicas.leads("web-2")
        await replicas.leaving()
        assert await replicas.successor() is None

    play(scenario)
