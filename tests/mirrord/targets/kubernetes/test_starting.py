import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from mirrord.errors import TargetError
from mirrord.targets.kubernetes import starting
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.starting import Starting, first_of, too_slow

KEY = bytes(range(32))
READY = f"mirrord-agent 0.1.0 ready key={KEY.hex()}\n".encode()
Event = tuple[str, dict[str, Any]]


class Log:
    """A log that is followed."""

    def __init__(self, lines: list[bytes]) -> None:
        self._lines = lines

    async def __aenter__(self) -> "Log":
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    @property
    async def content(self) -> AsyncIterator[bytes]:
        for line in self._lines:
            yield line


class Server:
    """An API server that has these events to tell, and then none, and this log."""

    def __init__(self, *events: Event, log: list[bytes] | None = None) -> None:
        self._events = events
        self._log = log or []
        self.asked: list[str] = []

    async def watch(self, path: str, **query: str) -> AsyncIterator[Event]:
        self.asked.append(f"{path} {query}")
        for event in self._events:
            yield event
        await asyncio.get_running_loop().create_future()

    async def follow(self, path: str, **query: str) -> Log:
        self.asked.append(f"{path} {query}")
        return Log(self._log)


class Said:
    """Notes what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    detail = warn = info

    def step(self, doing: str, purpose: str) -> None:
        self.lines.append(doing)


def pod(kind: str = "MODIFIED", *, name: str = "agent", phase: str = "Pending", **status: Any) -> Event:
    """Return an event about a pod; ``status`` is its container's state, or what else is in its status."""
    states = {key: status.pop(key) for key in ("running", "waiting", "terminated") if key in status}
    containers = [{"name": name, "state": states}] if states else []
    described = {"phase": phase, "containerStatuses": containers, **status}
    return kind, {"metadata": {"name": "pod-1"}, "status": described}


def wait(server: Server, said: Said | None = None) -> tuple[str, bytes]:
    one = Starting(cast(Access, server), "prod", "agent", said or Said())

    async def limited() -> tuple[str, bytes]:
        async with asyncio.timeout(20):
            return await one.ready(labelSelector="job-name=x")

    return asyncio.run(limited())


def test_an_agent_that_becomes_ready() -> None:
    server = Server(
        pod("ADDED"),
        pod(waiting={"reason": "ContainerCreating"}),
        pod(name="sidecar", running={}),
        pod(running={}),
        log=[b"noise\n", READY, b"more\n"],
    )
    assert wait(server) == ("pod-1", KEY)
    assert server.asked == [
        "/api/v1/namespaces/prod/pods {'labelSelector': 'job-name=x'}",
        "/api/v1/namespaces/prod/pods/pod-1/log {'container': 'agent', 'follow': 'true'}",
    ]


def test_one_in_an_ephemeral_container() -> None:
    state = [{"name": "agent", "state": {"running": {}}}]
    assert wait(Server(pod(phase="Running", ephemeralContainerStatuses=state), log=[READY])) == ("pod-1", KEY)


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (pod("DELETED"), "the agent's pod pod-1 was deleted while it started"),
        (
            pod(conditions=[UNSCHEDULABLE]),
            "the agent's pod cannot be scheduled: no room; see `agent.node_sel",
        ),
        (pod(phase="Failed", reason="OutOfpods", message="full"), "was refused by its node: full"),
        (pod(phase="Failed", reason="OutOfpods"), "was refused by its node: OutOfpods"),
        (
            pod(waiting={"reason": "ImagePullBackOff", "message": "not found"}),
            "the agent's container cannot be started: ImagePullBackOff: not found; check `agent.image`",
        ),
        (pod(waiting={"reason": "RunContainerError"}), "RunContainerError: no more was said"),
    ],
)
def test_one_that_never_will(event: Event, sentence: str) -> None:
    with pytest.raises(TargetError) as caught:
        wait(Server(pod("ADDED"), event))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ([b"mirrord-agent: there is no process 7\n"], "the agent ended at once: there is no process 7"),
        ([], "the agent ended at once: it said nothing"),
    ],
)
def test_one_that_ends(log: list[bytes], sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        wait(Server(pod(terminated={}), log=log))


def test_what_is_waited_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "REMINDER", 0.001)
    said = Said()
    server = Server(pod(waiting={"reason": "ContainerCreating"}))
    one = Starting(cast(Access, server), "prod", "agent", said)

    async def until_told_twice() -> None:
        waiting = asyncio.ensure_future(first_of(one.ready(), one.remind()))
        async with asyncio.timeout(20):
            while len(said.lines) < 2:
                await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(until_told_twice())
    assert said.lines[-1] == "waiting for the agent: its container is not running (ContainerCreating)"
    assert str(too_slow(one, 5)).startswith(
        "the agent was not ready within 5 s: its container is not running (ContainerCreating); look at"
    )
