import asyncio
from typing import Any, cast

import pytest

from mirrord.config.load import resolve
from mirrord.config.options import ExecOptions
from mirrord.targets.kubernetes import agents as module
from mirrord.targets.kubernetes.access import Access
from mirrord.targets.kubernetes.agents import Agents

from .test_starting import Said


@pytest.mark.parametrize(("ephemeral", "place"), [(False, "agents"), (True, "prod")])
def test_the_way_is_asked_for_once_and_before_a_pod_is_known(
    ephemeral: bool, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def use_proxy(way: Access, namespace: str, tell: Any) -> bool:
        asked.append(namespace)
        await asyncio.get_running_loop().create_future()
        return True

    monkeypatch.setattr(module, "use_proxy", use_proxy)
    settings = resolve(ExecOptions(program=("true",), target="pod/x", ephemeral_container=ephemeral), {})

    async def scenario() -> None:
        agents = Agents(cast(Access, None), settings, place="agents", client_key=bytes(32), tell=Said())
        for _ in range(2):
            agents.prepare("prod")
        await asyncio.sleep(0)
        # a session that ends before the answer leaves nothing behind
        await agents.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())
    assert asked == [place]
