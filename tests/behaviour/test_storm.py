"""Processes, threads, signals and stops, all at once."""

import pytest

from ..conftest import Mirrord
from ..support.attaching import Attaching, kill
from ..support.build import command
from .soak import SOAK, STORM, STORMS

pytestmark = [pytest.mark.both_engines, pytest.mark.soak, pytest.mark.timeout(STORM + 300)]
REMOTE = "/app/config.yaml"


@pytest.mark.parametrize("time", range(STORMS))
def test_nothing_is_stuck_and_nothing_is_left(mirrord: Mirrord, time: int) -> None:
    session = mirrord(*command("storm"), str(STORM), REMOTE, timeout=STORM + 200)

    assert session.lines == ["failed 0", "hundreds yes"]
    assert "warning" not in session.err


@pytest.mark.skipif(not SOAK, reason="it takes a minute")
def test_what_attaches_to_it_and_is_killed_changes_nothing(attaching: Attaching) -> None:
    with attaching.runner.start([*command("storm"), str(STORM), "/etc/passwd"], reads=False) as process:
        for flags in ([], ["--descendants"]):
            for killed in (False, True):
                with attaching.attached(process.pid, "--fs-mode", "local", *flags) as session:
                    if killed:
                        kill(session.supervisor)
                        assert session.ended().code == 125
                    else:
                        assert session.interrupt().code == 0
        assert process.communicate(timeout=STORM + 100)[0].splitlines() == ["failed 0", "hundreds yes"]
