"""Follows the pods of a target: those that come get an agent, and that the first one goes is noticed.

The first pod is the one whose files, environment and network the program has, until another takes its place.
Of the others only incoming connections are wanted, once the program listens; what goes wrong with one of them
does not end the session.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, Final

from mirrord.errors import MirrordError, TargetError
from mirrord.targets.base import Replica, Tell
from mirrord.targets.kubernetes.access import Access, asking, is_forbidden
from mirrord.targets.kubernetes.agents import Agents
from mirrord.targets.kubernetes.choose import Chosen, Pods, chosen_of
from mirrord.targets.kubernetes.objects import KINDS, Pod

_PATIENCE: Final = 10.0
"""Seconds for which a session waits for the agents of its target's other pods."""
_PAUSE: Final = 1.0
"""Seconds between attempts to see the pods again, where the API server cannot be reached."""


class Replicas:
    """The pods of one session's target."""

    def __init__(self, way: Access, pods: Pods, agents: Agents, tell: Tell) -> None:
        self._way: Final = way
        self._pods: Final = pods
        self._agents: Final = agents
        self._tell: Final = tell
        self._first = ""
        self._there: Final[dict[str, Chosen]] = {}
        """The other pods, by their names."""
        self._beside: Final[dict[str, str]] = {}
        """By the name of a pod, the id of the container that an agent is for."""
        self._wanted = False
        self._leaving: Final = asyncio.Event()
        """Set while the first pod is going."""
        self._ready: Final[asyncio.Queue[Replica]] = asyncio.Queue()
        self._starting: Final[set[asyncio.Task[None]]] = set()
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def follow(self, first: Chosen, others: Iterable[Chosen]) -> None:
        """Take note of the pods that come and go from now on."""
        self._first = first.pod
        self._beside[first.pod] = first.id
        self._there.update({other.pod: other for other in others})
        self._begin(self._follow())

    async def ready(self) -> list[Replica]:
        """Start agents beside the others, and from now on beside those that come. Return what is ready, after
        a while at most.
        """
        self._wanted = True
        for chosen in self._there.values():
            self._start(chosen)
        if self._starting and (await asyncio.wait(self._starting, timeout=_PATIENCE))[1]:
            self._tell.info("not every pod has an agent yet; the others follow")
        return [self._ready.get_nowait() for _ in range(self._ready.qsize())]

    async def later(self) -> AsyncIterator[Replica]:
        """Give those that become ready later."""
        while True:
            yield await self._ready.get()

    async def leaving(self) -> None:
        """Wait until the first pod is being deleted."""
        await self._leaving.wait()

    async def successor(self) -> Replica | None:
        """Start an agent beside another pod, the youngest for which it can be done; None where there is none
        that has no agent yet.
        """
        for chosen in reversed(list(self._there.values())):
            if self._beside.get(chosen.pod) != chosen.id:
                self._beside[chosen.pod] = chosen.id
                if (replica := await self._agent(chosen)) is not None:
                    return replica
        return None

    def leads(self, pod: str) -> None:
        """Have another pod be the first one from now on."""
        self._first = pod
        self._leaving.clear()
        if pod not in self._there:
            # it has gone meanwhile
            self._leaving.set()

    async def close(self) -> None:
        """Follow no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _follow(self) -> None:
        while True:
            try:
                with asking("watch", "pods", self._pods.namespace):
                    await self._watch()
            except TargetError as error:
                if is_forbidden(error):
                    self._tell.detail(f"pods that come and go are not followed: {error}")
                    return
                await asyncio.sleep(_PAUSE)

    async def _watch(self) -> None:
        path = KINDS["pod"].path(self._pods.namespace)
        async for kind, item in self._way.watch(path, **self._pods.query):
            pod = Pod.model_validate(item)
            if kind == "DELETED" or pod.metadata.deletion_timestamp is not None:
                self._goes(pod.metadata.name)
            else:
                self._is_there(pod)

    def _is_there(self, pod: Pod) -> None:
        """Note a pod whose container runs: it may not be ready yet, and get its first requests soon."""
        chosen = chosen_of(pod, self._pods.container, ready=False)
        if isinstance(chosen, Chosen):
            self._there[chosen.pod] = chosen
            if self._wanted:
                self._start(chosen)

    def _start(self, chosen: Chosen) -> None:
        """Start an agent, unless there is one for this container."""
        if self._beside.get(chosen.pod) != chosen.id:
            self._beside[chosen.pod] = chosen.id
            task = self._begin(self._started(chosen))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    def _goes(self, pod: str) -> None:
        self._there.pop(pod, None)
        self._beside.pop(pod, None)
        if pod == self._first:
            # of the others it is told when they are gone: some serve on for a while
            self._leaving.set()

    async def _started(self, chosen: Chosen) -> None:
        if (replica := await self._agent(chosen)) is not None:
            self._ready.put_nowait(replica)

    async def _agent(self, chosen: Chosen) -> Replica | None:
        """Start an agent; where that fails, tell why, unless the pod is gone."""
        try:
            return Replica(chosen.pod, await self._agents.start(chosen))
        except MirrordError as error:
            if chosen.pod in self._beside:
                self._tell.warn(f"warning: the traffic of pod {chosen.pod} does not arrive here: {error}")
            return None
