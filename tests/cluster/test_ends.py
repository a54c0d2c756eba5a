"""However a session ends, nothing of it stays in the cluster."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from ..support.processes import Chain, marked
from ..support.running import read_line
from ..support.waiting import until
from .conftest import Session


@contextmanager
def ready(session: Session, target: str = "deployment/web") -> Iterator["subprocess.Popen[str]"]:
    """Start a program that says its pod's name and then waits for its input to end."""
    line = session.line(target, "sh", "-c", "hostname; cat; curl -sS -m 5 http://web/; echo $?")
    env = {**session.environment(), "MIRRORD_AGENT_COMMUNICATION_TIMEOUT": "5"}
    with session.runner.start(line, env=env) as process:
        assert read_line(process) in session.pods("app=web")
        yield process


def gone(session: Session) -> None:
    """Wait until no agent is left, and no process of the session here."""
    until("the agents are gone", lambda: not session.agents(), seconds=60)
    until("the processes are gone", lambda: not marked(session.runner.mark))


def test_the_end_of_the_program(session: Session) -> None:
    with ready(session) as process:
        assert len(session.agents()) == 2
        out, _ = process.communicate(timeout=30)
    assert out.split()[1] == session.workloads.greeting
    gone(session)


@pytest.mark.parametrize("victim", ["front", "supervisor", "everybody"])
def test_killed(victim: str, session: Session) -> None:
    with ready(session) as process:
        everybody = marked(session.runner.mark)
        victims = everybody if victim == "everybody" else [getattr(Chain.of(process.pid), victim)]
        for pid in victims:
            # some end with others
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        gone(session)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ended_by_a_signal(number: signal.Signals, session: Session) -> None:
    with ready(session) as process:
        os.kill(process.pid, number)
        process.communicate(timeout=30)
    gone(session)


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_interrupted_while_the_agent_starts(kill: Callable[[int, int], None], session: Session) -> None:
    line = session.line("deployment/web", "true", options=["-v"])
    with session.runner.start(line, env=session.environment()) as process:
        assert process.stderr is not None
        while "was created in the namespace" not in (said := process.stderr.readline()):
            assert said
        kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert "interrupted before the program was started" in said
    gone(session)


def test_two_at_once(session: Session) -> None:
    with ready(session) as one, ready(session, "service/web") as other:
        assert len(session.agents()) == 4
        for process in (one, other):
            out, _ = process.communicate(timeout=30)
            assert out.split()[1] == session.workloads.greeting


@pytest.mark.parametrize("kind", ["pod", "deployment"])
def test_the_target_is_deleted(kind: str, session: Session) -> None:
    first = session.pods("app=web")[0]
    with ready(session, "deployment/web" if kind == "deployment" else f"pod/{first}") as process:
        here = f"--namespace={session.workloads.namespace}"
        session.cluster.kubectl("delete", "pod", here, first)
        told = "what was remote fails from now on" if kind == "pod" else "new connections are those of pod "
        assert process.stderr is not None
        while told not in (said := process.stderr.readline()):
            assert said
        out, _ = process.communicate(timeout=30)
    # of a deployment another pod has taken its place
    assert (out.split()[-1] == "0") is (kind == "deployment")
    session.cluster.kubectl("rollout", "status", here, "deployment/web", "--timeout=60s")
    until("three are left", lambda: len(session.pods("app=web")) == 3, seconds=30)
