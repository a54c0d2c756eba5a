"""The engine that is chosen where nobody names one."""

import sys

import pytest

from ..support.build import command
from ..support.running import Runner
from ..support.sandboxes import Sandbox

SUPERVISED = """
import os, sys
from mirrord_seccomp import bpf, load
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch
load.set_no_new_privs()
program = bpf.compile([Rule("fdatasync", Action.NOTIFY)], current_arch())
os.set_inheritable(load.load(program, load.NEW_LISTENER), True)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("kind", ["go", "python", "node", "java"])
def test_under_another_supervisor_programs_are_traced(runner: Runner, sandbox: Sandbox, kind: str) -> None:
    """As in a container whose runtime has a seccomp listener: there can be no second one."""
    session = [runner.user.mirrord, "exec", "-v", "-t", sandbox.target, "--", *command(f"identity-{kind}")]

    outcome = runner.run([sys.executable, "-c", SUPERVISED, *session])

    assert outcome.lines[:4] == [
        f"greeting={sandbox.greeting}",
        f"hostname={sandbox.hostname}",
        f"config={sandbox.config}",
        "echo=10.96.0.20",
    ]
    assert "engine: ptrace" in outcome.err
    assert "refuses a seccomp listener" in outcome.err
