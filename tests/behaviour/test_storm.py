"""Processes, threads, signals and stops, all at once."""

import pytest

from ..conftest import Mirrord
from ..support.build import command
from .soak import STORM, STORMS

pytestmark = [pytest.mark.both_engines, pytest.mark.soak, pytest.mark.timeout(STORM + 300)]
REMOTE = "/app/config.yaml"


@pytest.mark.parametrize("time", range(STORMS))
def test_nothing_is_stuck_and_nothing_is_left(mirrord: Mirrord, time: int) -> None:
    session = mirrord(*command("storm"), str(STORM), REMOTE, timeout=STORM + 200)

    assert session.lines == ["failed 0", "hundreds yes"]
    assert "warning" not in session.err
