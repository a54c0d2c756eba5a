"""What is tried of a target: what one may do in its cluster, an agent, the way to it, and what it can do."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

from mirrord_agent.wire.channel import RequestFailed
from mirrord_agent.wire.messages import Done, GetHostname, Hostname, Subscribe, Unsubscribe

from mirrord.config.model import Settings
from mirrord.doctor.finding import Finding, Outcome
from mirrord.errors import MirrordError
from mirrord.link import client
from mirrord.link.client import Link
from mirrord.targets import prepare
from mirrord.targets.base import Target

if TYPE_CHECKING:
    from mirrord.targets.kubernetes.permissions import Permission

_TRIPS: Final = 20
_PORT: Final = 1
"""tcpmux, which nothing serves: taking it disturbs nobody."""


class Unheard:
    """Says nothing of how a target is prepared."""

    def info(self, text: str) -> None:
        """Say nothing."""

    def detail(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing: what does not work is found."""

    def step(self, doing: str, purpose: str) -> None:
        """Say nothing: it does not take long."""


def examine(settings: Settings) -> list[Finding]:
    """Try everything; an agent is started, as a session starts one, and ended."""
    try:
        target = prepare(settings, Unheard())
    except MirrordError as error:
        return [_failed("the target", error, "no session can be had there")]
    with asyncio.Runner() as runner:
        try:
            return runner.run(_all(settings, target))
        finally:
            runner.run(target.close())


async def _all(settings: Settings, target: Target) -> list[Finding]:
    found = []
    if not settings.target.startswith("sandbox"):
        found += [finding async for finding in _cluster(settings)]
    return found + [finding async for finding in _agent(target)]


async def _cluster(settings: Settings) -> AsyncIterator[Finding]:
    from mirrord.config.target import parse_cluster_target
    from mirrord.targets.kubernetes import permissions
    from mirrord.targets.kubernetes.agents import access_of

    configuration = settings.configuration
    try:
        access = await access_of(settings)
    except MirrordError as error:
        yield _failed("the kubeconfig", error, "no cluster can be reached")
        return
    namespace = configuration.target.namespace or access.namespace
    try:
        refused = await permissions.refused(
            access,
            permissions.wanted(
                parse_cluster_target(settings.target).kind,
                namespace=namespace,
                agent_namespace=configuration.agent.namespace or namespace,
                ephemeral=configuration.agent.ephemeral,
            ),
        )
    except MirrordError as error:
        yield _failed("permissions (RBAC)", error, "no session can be had there")
    else:
        yield _permitted(refused, hopeless=permissions.prevents(refused))
    finally:
        await access.close()


def _permitted(refused: Sequence["Permission"], *, hopeless: bool) -> Finding:
    subject = "permissions (RBAC)"
    if not refused:
        return Finding(subject, Outcome.WORKS, "all that a session needs")
    missing = ", ".join(str(one) for one in refused)
    if hopeless:
        outcome, cost = Outcome.FAILS, "no session can be had there"
    else:
        outcome, cost = Outcome.LACKS, "; ".join(dict.fromkeys(one.loss for one in refused))
    return Finding(subject, outcome, f"missing: {missing}", cost, "ask for what docs/rbac.yaml has")


async def _agent(target: Target) -> AsyncIterator[Finding]:
    began = time.monotonic()
    key = client.new_session_key()
    try:
        endpoint = await target.start_agent(client.public_bytes(key))
    except MirrordError as error:
        yield _failed("an agent there (admission, image)", error, "no session can be had there")
        return
    took = time.monotonic() - began
    yield Finding(
        "an agent there (admission, image)", Outcome.WORKS, f"in {target.label}, after {took:.1f} s"
    )
    try:
        link = await client.connect(endpoint, key)
    except MirrordError as error:
        yield _failed("the link to it", error, "no session can be had there")
        return
    yield await _measured(link)
    yield await _subscribed(link, "mirror", "nothing can be mirrored")
    yield await _subscribed(link, "steal", "nothing can be stolen")
    link.channel.close("the doctor has seen enough")


async def _measured(link: Link) -> Finding:
    times = []
    for _ in range(_TRIPS):
        began = time.perf_counter()
        await link.channel.request(GetHostname(), Hostname)
        times.append(time.perf_counter() - began)
    return Finding("the link to it", Outcome.WORKS, f"{median(times) * 1000:.3g} ms for a round trip")


async def _subscribed(link: Link, mode: Literal["mirror", "steal"], cost: str) -> Finding:
    subject = f"incoming traffic: {mode}"
    try:
        await link.channel.request(Subscribe(port=_PORT, mode=mode), Done)
        await link.channel.request(Unsubscribe(port=_PORT), Done)
    except RequestFailed as error:
        found = error.reason or os.strerror(error.errno).lower()
        return Finding(
            subject, Outcome.LACKS, found, cost, "look at the agent's capabilities: docs/security.md"
        )
    return Finding(subject, Outcome.WORKS, "yes")


def _failed(subject: str, error: MirrordError, cost: str) -> Finding:
    return Finding(subject, Outcome.FAILS, error.problem, cost, error.remedy)
