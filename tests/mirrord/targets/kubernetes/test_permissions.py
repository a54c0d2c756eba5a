import asyncio
from typing import Any, cast

import pytest

from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.permissions import Permission, prevents, refused, wanted


class Reviewer:
    """An API server that allows nothing but some verbs."""

    def __init__(self, *verbs: str) -> None:
        self.verbs = verbs
        self.asked: list[dict[str, Any]] = []

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        attributes = body["spec"]["resourceAttributes"]
        self.asked.append(attributes)
        return {"status": {"allowed": True}} if attributes["verb"] in self.verbs else {"status": {}}


def test_what_is_not_allowed_is_named() -> None:
    server = Reviewer("get")
    asked = [Permission("get", "", "pods/log", "shop"), Permission("create", "batch", "jobs", "shop")]
    found = asyncio.run(refused(cast("Access", server), [*asked, *asked]))
    assert [str(one) for one in found] == ["create jobs.batch in shop"]
    assert server.asked[0] == {
        "verb": "get",
        "group": "",
        "resource": "pods",
        "subresource": "log",
        "namespace": "shop",
    }
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("kind", "ephemeral", "has", "has_not"),
    [
        ("deployment", False, "get deployments.apps in shop", "patch pods/ephemeralcontainers in shop"),
        ("deployment", False, "create jobs.batch in agents", "create jobs.batch in shop"),
        ("pod", True, "patch pods/ephemeralcontainers in shop", "create jobs.batch in agents"),
        ("targetless", False, "create jobs.batch in agents", "get pods in shop"),
    ],
)
def test_what_is_wanted_depends_on_the_target(kind: str, ephemeral: bool, has: str, has_not: str) -> None:
    found = {
        str(one) for one in wanted(kind, namespace="shop", agent_namespace="agents", ephemeral=ephemeral)
    }
    assert has in found
    assert has_not not in found


@pytest.mark.parametrize("agent_namespace", ["shop", "agents"])
def test_following_the_pods_may_be_left_out(agent_namespace: str) -> None:
    server = Reviewer("get", "list", "create", "delete")
    asked = wanted("deployment", namespace="shop", agent_namespace=agent_namespace, ephemeral=False)
    found = {str(one): one.loss for one in asyncio.run(refused(cast("Access", server), asked))}
    # where the agent is, it is how the agent is waited for
    assert found[f"watch pods in {agent_namespace}"] == ""
    if agent_namespace != "shop":
        assert found["watch pods in shop"].startswith("pods that come later get no agent")
    assert found[f"watch events in {agent_namespace}"]


@pytest.mark.parametrize(
    ("missing", "hopeless"),
    [
        ([], False),
        (["get pods/proxy"], False),
        (["get pods/portforward"], False),
        (["create pods/portforward"], False),
        (["get pods/proxy", "create pods/portforward"], False),
        (["get pods/proxy", "get pods/portforward"], True),
        (["get pods/log"], True),
    ],
)
def test_one_way_to_the_agent_is_enough(missing: list[str], hopeless: bool) -> None:
    asked = list(wanted("pod", namespace="shop", agent_namespace="shop", ephemeral=False))
    refused = [one for one in asked if f"{one.verb} {one.resource}" in missing]
    assert len(refused) == len(missing)
    assert prevents(refused) is hopeless
