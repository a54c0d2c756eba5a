"""Processes made and run in every way there is, each of which sees the target."""

import subprocess
from pathlib import Path

import pytest

from ..conftest import Mirrord
from ..support.build import SYSTEM_PYTHON, command
from ..support.elf import exiting_elf32
from ..support.sandboxes import Sandbox
from ..support.user import User

pytestmark = [pytest.mark.both_engines, pytest.mark.sample("current")]

REMOTE = "/app/config.yaml"
ECHO = ("10.96.0.20", "7")


@pytest.mark.both_users
@pytest.mark.parametrize("way", ["vfork", "spawn", "thread"])
def test_a_child_made_so_sees_the_target(mirrord: Mirrord, sandbox: Sandbox, way: str) -> None:
    session = mirrord(*command("children"), way, REMOTE)

    assert session.lines == [sandbox.config, "status 0"]


@pytest.mark.parametrize("call", ["clone", "clone3"])
def test_a_child_that_asks_not_to_be_traced(mirrord: Mirrord, sandbox: Sandbox, call: str) -> None:
    session = mirrord(*command("untraced"), call, REMOTE)

    assert session.lines == [sandbox.config, "status 0", "flags kept"]


AFFINITY = """
import os, subprocess, sys, threading
def say(who):
    cpus = sorted(os.sched_getaffinity(0))
    status = dict(line.split(":\\t") for line in open("/proc/thread-self/status"))
    print(who, cpus, status["Cpus_allowed_list"].strip())
def storm():
    for _ in range(200):
        os.stat("/etc/passwd")
storm()
say("program")
storm()
thread = threading.Thread(target=say, args=("thread",))
thread.start()
thread.join()
storm()
sys.stdout.flush()
if os.fork() == 0:
    say("fork")
    os._exit(sys.stdout.flush())
os.wait()
storm()
subprocess.run(["nproc"])
storm()
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
storm()
say("chosen")
"""


def test_each_runs_where_it_may_natively(mirrord: Mirrord) -> None:
    """Also while it makes one trapped call after another, for which it may be kept on one CPU."""
    line = [SYSTEM_PYTHON, "-c", AFFINITY]
    natively = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()

    assert mirrord(*line).lines == natively
    assert len(natively) == 5


def test_registers_and_the_stack_are_kept(mirrord: Mirrord) -> None:
    session = mirrord(*command("keeps"), REMOTE, "/etc/passwd", "/app/nothing")

    assert session.lines == ["kept"] * 3


@pytest.mark.both_users
def test_two_hundred_processes_at_once(mirrord: Mirrord) -> None:
    session = mirrord(*command("crowd"), "200", REMOTE, *ECHO, options=["-v"])

    assert session.lines == ["good 200"]
    assert session.statistics["open_tcp"] == 200


@pytest.mark.parametrize(
    ("way", "lines"),
    [
        ("clone", ["clone echoed"]),
        ("pass", ["pass echoed"]),
        ("fork", ["child echoed", "parent echoed"]),
    ],
)
def test_a_connection_is_shared(mirrord: Mirrord, way: str, lines: list[str]) -> None:
    assert mirrord(*command("shared"), way, *ECHO).lines == lines


@pytest.mark.both_users
def test_a_program_with_a_filter_of_its_own(mirrord: Mirrord, sandbox: Sandbox) -> None:
    session = mirrord(*command("filtered"), REMOTE, *ECHO)

    assert session.lines == ["getppid EOWNERDEAD", sandbox.config, "word echoed"]


def test_a_program_that_closes_every_descriptor(mirrord: Mirrord, sandbox: Sandbox) -> None:
    session = mirrord(*command("range"), REMOTE, *ECHO)

    assert session.lines == ["descriptors 3", "close_range ok", "closed EBADF", sandbox.config, "word echoed"]


def test_calls_of_another_architecture_stay_local(mirrord: Mirrord) -> None:
    lines = mirrord(*command("old_calls"), REMOTE).lines
    if lines == ["no 32-bit calls"]:
        pytest.skip("this kernel has no 32-bit calls")

    assert lines == ["getpid right", "open ENOENT"]


def test_a_program_of_another_architecture_runs_locally(
    mirrord: Mirrord, sandbox: Sandbox, engine: str, user: User
) -> None:
    path = user.home / "i386"
    path.write_bytes(exiting_elf32())
    path.chmod(0o755)
    if not _runs(path):
        pytest.skip("this kernel runs no 32-bit programs")

    session = mirrord("sh", "-c", f"{path}; {path}; echo $?; uname -n")

    assert session.lines == ["7", sandbox.hostname]
    assert session.err.count("another architecture") == (engine == "ptrace"), "notifications never tell"


def _runs(path: Path) -> bool:
    try:
        return subprocess.run([path]).returncode == 7
    except OSError:
        return False


def test_a_bad_pointer_is_the_programs_own_error(mirrord: Mirrord) -> None:
    session = mirrord(*command("bad_pointer"))

    assert session.lines == ["open EFAULT", "stat EFAULT", "connect EFAULT", "uname EFAULT"]


def test_io_uring_is_not_there(mirrord: Mirrord) -> None:
    script = (
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "value = libc.syscall(425, 8, ctypes.create_string_buffer(120))\n"
        "print(value, errno.errorcode[ctypes.get_errno()])\n"
    )

    assert mirrord(SYSTEM_PYTHON, "-S", "-c", script).lines == ["-1 ENOSYS"]


def test_a_child_of_a_child_of_a_shell(mirrord: Mirrord, sandbox: Sandbox) -> None:
    session = mirrord("sh", "-c", "(sh -c '(uname -n | cat)'; true) | cat")

    assert session.lines == [sandbox.hostname]


def test_an_empty_environment_changes_nothing(mirrord: Mirrord, sandbox: Sandbox) -> None:
    assert mirrord("env", "-i", "/bin/uname", "-n").lines == [sandbox.hostname]
