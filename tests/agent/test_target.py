import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mirrord_agent.credentials import Credentials
from mirrord_agent.errors import AgentError
from mirrord_agent.target import enter

from .running import tool
from .test_linux import needs_root


@contextmanager
def process(*command: str, env: dict[str, str] | None = None) -> Iterator[int]:
    """Start a process that says when it is there."""
    script = "echo there; exec sleep 60"
    with subprocess.Popen([*command, "sh", "-c", script], stdout=subprocess.PIPE, env=env) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == b"there\n"
            yield started.pid
        finally:
            started.kill()


def test_ones_own_namespaces_are_not_entered() -> None:
    environment = {"PATH": os.environ["PATH"], "EMPTY": "", "ODD": "a=b=c"}
    with process(env=environment) as pid:
        target = enter(pid)
        try:
            assert target.pid == pid
            assert (b"EMPTY", b"") in target.environment
            assert (b"ODD", b"a=b=c") in target.environment
            assert target.credentials.uids == Credentials.of_this_thread().uids
            assert os.path.samestat(os.fstat(target.root), os.stat("/"))
        finally:
            os.close(target.pidfd)
            os.close(target.root)


def test_there_must_be_such_a_process() -> None:
    with pytest.raises(AgentError, match="there is no process 4194304"):
        enter(4_194_304)


def entered(pid: int) -> str:
    """Return the namespaces and the target's ids as a process sees them that has entered the target."""
    code = f"""
import os
from mirrord_agent.target import enter
target = enter({pid})
print([os.readlink(f"/proc/self/ns/{{name}}") for name in ("net", "uts", "user")], target.credentials.uids)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return run.stdout + run.stderr


def namespaces(pid: int) -> str:
    """Return the namespaces of a process as :func:`entered` prints them."""
    return str([os.readlink(f"/proc/{pid}/ns/{name}") for name in ("net", "uts", "user")])


@needs_root
@pytest.mark.parametrize("kinds", ["-n", "-nu", "-u", "-Urn", "-Uru", "-Ur"])
def test_what_differs_is_entered(kinds: str) -> None:
    with process(tool("unshare"), kinds) as pid:
        seen = entered(pid)
        assert namespaces(pid) in seen
        assert "(0, 0, 0, 0)" in seen
