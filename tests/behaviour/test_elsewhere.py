"""Processes that may not be looked into, or that see another network or other files: they run locally."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from ..conftest import Mirrord
from ..support.build import command
from ..support.needs import tool
from ..support.user import User

pytestmark = [pytest.mark.both_engines, pytest.mark.sample("ordinary")]

REMOTE = "/app/config.yaml"
ECHO = "http://10.96.0.20/"
HIDDEN = "its memory may not be read"
NETWORK = "it is in a network namespace of its own"
FILES = "it has a root directory or mount namespace of its own"


@pytest.mark.both_users
def test_a_program_that_hides_its_memory_runs_locally_meanwhile(mirrord: Mirrord, user: User) -> None:
    session = mirrord(*command("hidden"), REMOTE, options=["-q"])

    # root may look into it all the same (CAP_SYS_PTRACE)
    hidden = "ok" if user.name == "root" else "ENOENT"
    assert session.lines == ["before ok", f"hidden {hidden}", f"hidden {hidden}", "shown ok"]
    assert session.err.count(HIDDEN) == (user.name != "root")


@pytest.mark.both_users
def test_a_network_namespace_of_ones_own_is_left_alone(mirrord: Mirrord) -> None:
    curl = f"{tool('curl')} -sS --connect-timeout 20 {ECHO}"
    script = f"{curl}; {curl}; cat {REMOTE}"

    session = mirrord(tool("unshare"), "--user", "--map-root-user", "--net", "sh", "-c", script)

    assert session.err.count("curl: (7)") == 2
    assert session.err.count(NETWORK) == 1
    assert session.lines[0].startswith("config-")


@pytest.mark.both_users
def test_a_root_of_ones_own_is_left_alone(mirrord: Mirrord) -> None:
    line = [tool("bwrap"), "--ro-bind", "/", "/", "--dev", "/dev", "sh", "-c", f"cat {REMOTE}; uname -n"]

    session = mirrord(*line)

    assert session.code == 0
    assert "No such file" in session.err
    assert session.err.count(FILES) == 1
    assert session.out.startswith("host-"), "the network is still the pod's, and so is the name"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a setuid program")
@pytest.mark.both_users
def test_a_setuid_program_has_its_privileges_as_root_alone(mirrord: Mirrord, user: User) -> None:
    """For an ordinary user the filter takes them (no_new_privs, seccomp(2))."""
    # /tmp may be mounted without setuid
    with tempfile.TemporaryDirectory(prefix="mirrord-test-", dir="/var/lib") as folder:
        Path(folder).chmod(0o755)
        program = Path(folder, "id")
        shutil.copy(tool("id"), program)
        os.chown(program, 1, 1)
        program.chmod(0o4755)

        session = mirrord(str(program), "-u")

    assert session.lines == ["1" if user.name == "root" else "65534"]
