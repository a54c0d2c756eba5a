"""What cannot be had under the ptrace engine, and what is said of it."""

import pytest

from ..support.needs import tool
from ..support.running import Runner
from ..support.sandboxes import Sandbox


@pytest.mark.both_users
def test_a_program_that_traces_is_refused_and_told_of_the_other_engine(
    runner: Runner, sandbox: Sandbox
) -> None:
    line = [runner.user.mirrord, "exec", "-q", "-t", sandbox.target, "--engine", "ptrace", "--"]
    script = f"{tool('strace')} -o /dev/null true; {tool('strace')} -o /dev/null true; uname -n"

    session = runner.run([*line, "sh", "-c", script])

    assert session.lines == [sandbox.hostname]
    assert "Operation not permitted" in session.err
    assert session.err.count("--engine notify") == 1


def test_a_variable_names_the_engine(runner: Runner, sandbox: Sandbox) -> None:
    line = [runner.user.mirrord, "exec", "-t", sandbox.target, "-v", "--", "cat", "/proc/self/status"]

    session = runner.run(line, env={"MIRRORD_ENGINE": "ptrace"})

    assert "TracerPid:\t0\n" not in session.out
    assert "engine: ptrace" in session.err


def test_the_program_is_free_of_tracers_by_default(runner: Runner, sandbox: Sandbox) -> None:
    line = [runner.user.mirrord, "exec", "-t", sandbox.target, "-v", "--", "cat", "/proc/self/status"]

    session = runner.run(line)

    assert "TracerPid:\t0\n" in session.out
    assert "engine: notify" in session.err
