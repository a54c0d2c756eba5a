"""What cannot be attached to, or detached from, is told and left as it was."""

import signal
from pathlib import Path

import pytest

from ..support.attaching import Attaching, Running
from ..support.build import SYSTEM_PYTHON, command
from ..support.needs import tool
from ..support.running import read_line, write
from ..support.waiting import until

WITHOUT_PTRACE = """
import sys
from mirrord_seccomp import bpf, load
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch
load.set_no_new_privs()
load.load(bpf.compile([Rule("ptrace", Action.ERRNO(1))], current_arch()))
from mirrord.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.notify_only("it is the other engine that leaves a keeper")
def test_what_has_a_keeper_stays_with_its_engine(attaching: Attaching, pods_look: str) -> None:
    with attaching.program(*command("attached"), "look") as running:
        with attaching.attached(running.pid) as session:
            assert session.interrupt().code == 0
        outcome = attaching.runner.run(attaching.line(running.pid, "--engine", "ptrace"))
        assert outcome.code == 1
        assert "has been attached to before by the engine notify" in outcome.err
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            assert session.interrupt().code == 0
        running.end()


def unharmed(running: Running, seen: str) -> None:
    """Check that nothing has changed for a process that was not attached to."""
    assert running.filters() == (0 if seen.startswith("ENOENT") else 1)
    assert running.look() == seen


@pytest.mark.both_users
@pytest.mark.parametrize("tracer", ["gdb", "strace"])
def test_what_a_debugger_holds_is_refused(attaching: Attaching, tracer: str) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        words = {"gdb": ["-nx", "-q", "-p"], "strace": ["-qq", "-o", "/dev/null", "-p"]}
        with attaching.runner.start([tool(tracer), *words[tracer], str(running.pid)]) as process:
            status = Path(f"/proc/{running.pid}/status")
            until("it is held", lambda: f"TracerPid:\t{process.pid}" in status.read_text())
            said = attaching.refused(running.pid)
            assert f"held by another tracer, process {process.pid} ({tracer})" in said
            if tracer == "gdb":
                write(process, "detach\nquit\n")
            else:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        unharmed(running, local)
        running.end()


@pytest.mark.sample("current-ptrace")
@pytest.mark.both_engines
@pytest.mark.both_users
def test_what_another_session_holds_is_refused(attaching: Attaching, pods_look: str) -> None:
    line = [attaching.user.mirrord, "exec", "-q", "-t", attaching.sandbox.target, "--"]
    script = "import os, sys; print(os.getpid(), flush=True); os.execv(sys.argv[1], sys.argv[1:])"
    with attaching.runner.start(
        [*line, SYSTEM_PYTHON, "-c", script, *command("attached"), "look"]
    ) as process:
        pid = int(read_line(process))
        running = Running(process)
        said = attaching.refused(pid)
        held = [
            "is in a mirrord session already",
            "supervised by a seccomp listener already, of another mirrord",
        ]
        assert held[attaching.stays] in said
        assert running.look() == pods_look

    with attaching.program(*command("attached"), "look") as running:
        with attaching.attached(running.pid) as session:
            said = attaching.refused(running.pid)
            assert f"attached to already, by the session of process {session.supervisor}" in said
            assert running.look() == pods_look
            assert session.interrupt().code == 0
        running.end()


@pytest.mark.sample("current-ptrace")
@pytest.mark.both_engines
@pytest.mark.both_users
def test_where_yama_forbids_it(attaching: Attaching) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        python = str(Path(attaching.user.mirrord).parent / "python")
        refusing = [python, "-c", WITHOUT_PTRACE, "attach", "-t", attaching.sandbox.target, str(running.pid)]
        outcome = attaching.runner.run(refusing)
        assert outcome.code == 1
        assert f"the kernel does not let mirrord trace process {running.pid} (" in outcome.err
        assert "kernel.yama.ptrace_scope" in outcome.err
        assert "mirrord exec" in outcome.err
        unharmed(running, local)
        running.end()


def test_detaching_from_what_is_not_attached(attaching: Attaching) -> None:
    with attaching.program(*command("attached"), "look") as running:
        outcome = attaching.detach(running.pid)
        assert outcome.code == 1
        assert f"process {running.pid} has not been attached to" in outcome.err
        running.end()
    outcome = attaching.detach(running.pid)
    assert (outcome.code, outcome.err) == (1, f"mirrord: there is no process {running.pid}\n")
