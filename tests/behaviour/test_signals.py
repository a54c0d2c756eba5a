"""Signals: what they interrupt, and what they must not."""

from collections.abc import Callable

import pytest

from ..conftest import Line, Mirrord
from ..support.build import ROOT, command
from ..support.relay import Relay
from ..support.running import Runner, read_line, write
from ..support.waiting import until
from .soak import ROUNDS

SILENT = ("10.96.0.20", "10")
REMOTE = "/app/config.yaml"
LOCAL = str(ROOT / "pyproject.toml")
QUIET_PEER = "10.96.0.30"
"""Its port 10 takes datagrams and says nothing."""


@pytest.mark.sample("ordinary")
@pytest.mark.both_engines
@pytest.mark.soak
@pytest.mark.both_users
def test_file_calls_are_never_interrupted(mirrord: Mirrord) -> None:
    session = mirrord(*command("alarms"), str(50 * ROUNDS), REMOTE, LOCAL, "/etc/hostname", timeout=600)

    assert session.lines == ["interrupted 0", "failed 0", "alarms yes"]


@pytest.mark.soak
def test_file_calls_over_a_slow_link_are_never_interrupted(
    mirrord: Mirrord, slow: Callable[..., Relay]
) -> None:
    link = slow(delay=0.02)

    session = mirrord(
        *command("alarms"), str(ROUNDS), REMOTE, "/app/data/0001.txt", env=link.env, timeout=600
    )

    assert session.lines == ["interrupted 0", "failed 0", "alarms yes"]


@pytest.mark.both_engines
@pytest.mark.parametrize("call", ["connect", "receive"])
def test_a_blocked_call_is_interrupted_at_once(mirrord: Mirrord, call: str) -> None:
    session = mirrord(*command("blocked"), call, "plain", *SILENT)

    assert session.lines == ["EINTR", "alarms 1", "ends 0", "prompt", "prompt"]


@pytest.mark.both_engines
@pytest.mark.parametrize("call", ["connect", "receive"])
def test_a_blocked_call_restarts_if_it_should(mirrord: Mirrord, call: str) -> None:
    session = mirrord(*command("blocked"), call, "restart", *SILENT)

    assert session.lines == ["EINTR", "alarms 1", "ends 1", "prompt", "prompt"]


def test_a_delayed_open_of_a_preempted_program_is_one_request(
    mirrord: Mirrord, slow: Callable[..., Relay]
) -> None:
    link = slow(delay=0.2)

    session = mirrord(*command("preempted"), "/app/data/0007.txt", env=link.env, options=["-v"])

    assert session.lines[0].startswith("file 0007 ")
    assert session.statistics["open_file"] == 1
    assert link.requests.counts["open_file"] == 1


@pytest.mark.both_engines
def test_a_slow_open_delays_no_other_thread(line: Line, runner: Runner, slow: Callable[..., Relay]) -> None:
    link = slow()
    order = " ".join([*command("order"), REMOTE, LOCAL, "1000"])
    with runner.start(
        line("sh", "-c", f"echo ready; read go; exec {order}", options=["-q"]), env=link.env
    ) as process:
        assert read_line(process) == "ready"
        link.stall()
        write(process, "go\n")
        assert read_line(process) == "local"
        link.resume()
        assert read_line(process) == "remote"
        assert process.wait(20) == 0


@pytest.mark.both_engines
def test_a_call_that_nobody_waits_for_is_given_up(
    line: Line, runner: Runner, slow: Callable[..., Relay]
) -> None:
    link = slow()
    script = f"echo ready; read go; cat {REMOTE} & /bin/sleep 0.2; kill -KILL $!; wait $!; echo status $?"
    with runner.start(line("bash", "-c", script, options=["-q"]), env=link.env) as process:
        assert read_line(process) == "ready"
        link.stall()
        write(process, "go\n")
        assert read_line(process) == "status 137"
        link.resume()
        until("the program has ended", lambda: process.poll() is not None)
