"""A session at a terminal, as if mirrord were not there."""

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import Line
from ..support.build import ROOT
from ..support.needs import tool
from ..support.running import Runner
from ..support.sandboxes import Sandbox
from ..support.terminal import Terminal, terminal
from ..support.waiting import until


@pytest.fixture
def shell(runner: Runner) -> Iterator[Terminal]:
    """An interactive bash at a terminal, on this machine."""
    with _bash([tool("bash")], runner) as one:
        yield one


@contextlib.contextmanager
def _bash(line: list[str], runner: Runner) -> Iterator[Terminal]:
    env = {**runner.environment(), "PS1": "READY> ", "HISTFILE": "/dev/null"}
    with terminal([*runner.prefix(), *line, "--norc", "--noprofile", "--noediting", "-i"], env, ROOT) as one:
        one.expect("READY> ")
        yield one


@pytest.mark.both_engines
def test_ctrl_c_interrupts_the_program_and_the_shell_goes_on(shell: Terminal, line: Line) -> None:
    shell.type(shlex.join(line("sh", "-c", "echo begun; exec sleep 100", options=["-q"])) + "\n")
    shell.expect(r"begun\r\n")
    shell.type("\x03")
    shell.expect("READY> ")
    shell.type("echo code=$?\n")
    shell.expect("code=130")


def test_a_program_that_handles_ctrl_c_goes_on(shell: Terminal, line: Line) -> None:
    script = "trap 'echo caught' INT; echo begun; read answer; read answer; echo got $answer"
    shell.type(shlex.join(line("bash", "-c", script, options=["-q"])) + "\n")
    shell.expect(r"begun\r\n")
    shell.type("\x03")
    shell.expect("caught")
    shell.type("one\ntwo\n")
    shell.expect("got ")


@pytest.mark.both_engines
def test_ctrl_z_stops_and_fg_goes_on(shell: Terminal, line: Line) -> None:
    shell.type(shlex.join(line("sh", "-c", "echo begun; read word; echo got $word", options=["-q"])) + "\n")
    shell.expect(r"begun\r\n")
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.expect("READY> ")
    shell.type("fg\n")
    shell.expect("fg\r\n")
    shell.type("word\n")
    shell.expect("got word")
    shell.expect("READY> ")


@pytest.mark.both_engines
def test_a_background_job_that_reads_is_stopped(shell: Terminal, line: Line) -> None:
    shell.type(shlex.join(line("cat", options=["-q"])) + " &\n")
    shell.expect("READY> ")
    shell.type("wait %1; jobs\n")
    shell.expect("Stopped")
    shell.type("kill -KILL %1; wait %1; echo ended\n")
    shell.expect("\r\nended")


def test_the_window_size_is_seen_and_its_change_told(shell: Terminal, line: Line) -> None:
    shell.resize(31, 97)
    script = "trap 'stty size' WINCH; stty size; until read -t 0.05; do :; done"
    shell.type(shlex.join(line("bash", "-c", script, options=["-q"])) + "\n")
    shell.expect("31 97")
    shell.resize(17, 53)
    shell.expect("17 53")
    # no Ctrl-C, which bash forgets if it comes while a command of its trap ends well
    shell.type("\n")
    shell.expect("READY> ")


@pytest.mark.both_engines
def test_an_interactive_shell_inside(runner: Runner, line: Line, sandbox: Sandbox) -> None:
    with _bash(line(tool("bash"), options=["-q"]), runner) as inside:
        inside.type("uname -n\n")
        inside.expect(sandbox.hostname)
        inside.type("sh -c 'echo begun; exec sleep 100'\n")
        inside.expect(r"begun\r\n")
        inside.type("\x1a")
        inside.expect("Stopped")
        inside.type("jobs; kill %1; exit\n")
        inside.expect("exit")


def test_less_shows_a_remote_file(shell: Terminal, line: Line, sandbox: Sandbox) -> None:
    shell.type(shlex.join(line(tool("less"), "/app/config.yaml", options=["-q"])) + "\n")
    shell.expect(sandbox.config)
    shell.type("q")
    shell.expect("READY> ")


@pytest.mark.both_engines
def test_hanging_up_ends_the_session(runner: Runner, line: Line, tmp_path: Path) -> None:
    with _bash([tool("bash")], runner) as shell:
        shell.type(shlex.join(line("sh", "-c", "echo pid=$$.; exec sleep 100", options=["-q"])) + "\n")
        pid = int(shell.expect(r"pid=(\d+)\.")[1])
    until("the program has ended", lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.both_engines
def test_hanging_up_ends_an_interactive_shell_and_its_job(runner: Runner, line: Line) -> None:
    with _bash(line(tool("bash"), options=["-q"]), runner) as inside:
        inside.type("sh -c 'echo pid=$$.; exec sleep 100'\n")
        pid = int(inside.expect(r"pid=(\d+)\.")[1])
    until("the job has ended", lambda: not os.path.exists(f"/proc/{pid}"))
