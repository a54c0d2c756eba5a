import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from mirrord.targets.kubernetes.access import connect
from mirrord.targets.kubernetes.cleanup import abandoned, delete
from mirrord.targets.kubernetes.objects import Workload

from .server import serving

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "age", "gone"),
    [
        ({"active": 1, "ready": 1}, 86_400, False),
        ({"active": 1, "ready": 0}, 60, False),
        ({"active": 1, "ready": 0}, 121, True),
        ({}, 60, False),
        ({}, 121, True),
    ],
)
def test_who_is_abandoned(status: dict[str, Any], age: int, gone: bool) -> None:
    job = Workload.model_validate(
        {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}
    )
    assert abandoned(job, BEGUN + timedelta(seconds=age)) is gone


def test_jobs_that_were_noted_are_deleted_if_they_are_there(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(request: web.BaseRequest) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        return web.json_response({}, status=404 if request.path.endswith("gone") else 200)

    async def scenario() -> None:
        async with serving(answer=answer) as port:
            config = tmp_path / "config"
            cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
            context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
            user = {"name": "u", "user": {"token": "none"}}
            config.write_text(
                json.dumps(
                    {"current-context": "x", "clusters": [cluster], "contexts": [context], "users": [user]}
                )
            )
            way = await connect(kubeconfig=str(config), context=None, accept_invalid_certificates=None)
            await delete(way, ["prod/one", "agents/gone"])
            await way.close()

    asyncio.run(scenario())
    assert sorted(asked) == [
        "DELETE /apis/batch/v1/namespaces/agents/jobs/gone",
        "DELETE /apis/batch/v1/namespaces/prod/jobs/one",
    ]
