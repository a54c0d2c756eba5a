from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mirrord.targets.kubernetes.cleanup import abandoned
from mirrord.targets.kubernetes.objects import Workload

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
