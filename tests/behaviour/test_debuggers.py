"""Debuggers and tracers work on a program inside a session."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ..conftest import Mirrord
from ..support.build import OUTPUT, SOURCES, command
from ..support.needs import missing, tool
from ..support.sandboxes import Sandbox
from ..support.user import User

pytestmark = pytest.mark.notify_only("a thread has one tracer, and that is mirrord (ptrace(2))")

GDB = ("-nx", "-batch", "-ex", "break describe", "-ex", "run", "-ex", "print name", "-ex", "continue")
DELVE = "break main.describe\ncontinue\nprint name\ncontinue\nexit\n"


@pytest.mark.both_users
def test_gdb_stops_at_a_breakpoint(mirrord: Mirrord, sandbox: Sandbox) -> None:
    session = mirrord(tool("gdb"), *GDB, *command("debuggee"))

    assert "Breakpoint 1, describe" in session.out
    assert f'$1 = "{sandbox.hostname}"' in session.out or f'"{sandbox.hostname}"' in session.out
    assert f"host {sandbox.hostname}\n" in session.out
    assert "exited normally" in session.out


@pytest.mark.both_users
def test_strace_follows_children(mirrord: Mirrord, sandbox: Sandbox) -> None:
    shell = ["sh", "-c", "uname -n; true"]

    session = mirrord(tool("strace"), "-f", "-e", "trace=execve,uname", *shell)

    assert session.lines == [sandbox.hostname]
    assert f'nodename="{sandbox.hostname}"' in session.err
    assert session.err.count("execve(") == 2


@pytest.mark.timeout(600)  # the first time it is downloaded and compiled
def test_delve_stops_at_a_breakpoint(mirrord: Mirrord, sandbox: Sandbox, user: User) -> None:
    script = user.home / "delve"
    script.write_text(DELVE)
    options = ["--check-go-version=false", "--allow-non-terminal-interactive=true", "--init", str(script)]

    session = mirrord(*_delve(), "exec", *options, *command("delve"))

    assert "main.describe()" in session.out
    assert f'"{sandbox.hostname}"' in session.out
    assert f"host {sandbox.hostname}\n" in session.out


def _delve() -> Sequence[str]:
    """Return the debugger of this machine, else the one that the module ``dlv`` names, built once."""
    if (found := shutil.which("dlv")) is not None:
        return [found]
    built = OUTPUT / "dlv"
    if not built.exists():
        _build_delve(built)
    return [str(built)]


def _build_delve(built: Path) -> None:
    line = [tool("go"), "build", "-mod=readonly", "-o", str(built), "github.com/go-delve/delve/cmd/dlv"]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
    done = subprocess.run(line, cwd=SOURCES / "dlv", env=environment, capture_output=True, text=True)
    if done.returncode:
        missing(f"delve, which could not be built ({done.stderr.strip()[-300:]}),")
