"""When a part of the session is killed, what is left of it goes too, and the user is told."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from subprocess import Popen

import pytest

from mirrord.errors import EXIT_MIRRORD

from ..conftest import Line
from ..support.build import SYSTEM_PYTHON, command
from ..support.processes import Chain, is_pending, parent, state, system_call
from ..support.relay import Relay
from ..support.running import Runner, read_line, write
from ..support.sandboxes import Sandbox
from ..support.user import User
from ..support.waiting import until
from .soak import MOMENTS

PENDING = """
import errno, os, socket, sys, threading
established = socket.create_connection(("10.96.0.20", 7))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect(("10.96.0.20", 10))
print("ready", flush=True)
sys.stdin.readline()
def attempt(name, call):
    try:
        call()
        text = "no error"
    except OSError as error:
        text = errno.errorcode.get(error.errno, str(error))
    print(name, text, flush=True)
calls = {
    "open": lambda: open("/app/data/0001.txt"),
    # in another directory: an open waits for a listing of its own that is under way
    "stat": lambda: os.stat("/app/config.yaml"),
    "connect": lambda: socket.create_connection(("10.96.0.20", 10)),
    "receive": lambda: established.recv(1) or (_ for _ in ()).throw(ConnectionResetError(104, "")),
}
threads = [threading.Thread(target=attempt, args=each) for each in calls.items()]
for thread in threads: thread.start()
for thread in threads: thread.join()
attempt("afterwards", lambda: os.stat("/app/data/0003.txt"))
print("end", flush=True)
"""


@dataclass(frozen=True, slots=True)
class Session:
    """A session whose program has left a daemon, and stays itself."""

    process: "Popen[str]"
    chain: Chain
    daemon: int

    def victims(self, names: str) -> list[int]:
        """Return the processes called so."""
        return [getattr(self.chain, name) for name in names.split()]


@pytest.fixture
def session(line: Line, runner: Runner, user: User) -> Iterator[Session]:
    """Start it, and wait until the daemon runs."""
    file = user.home / "daemon"
    with runner.start(line(*command("daemon"), str(file), "wait"), reads=False) as process:
        assert read_line(process) == "ready"
        yield Session(process, Chain.of(process.pid), int(file.read_text()))
    file.unlink()


@pytest.mark.sample("current-ptrace-(supervisor|front)$")
@pytest.mark.both_engines
@pytest.mark.both_users
@pytest.mark.parametrize("names", ["supervisor", "front", "supervisor front"])
def test_a_killed_part_takes_the_whole_session_with_it(session: Session, names: str) -> None:
    for pid in session.victims(names):
        os.kill(pid, signal.SIGKILL)

    until("the daemon has ended", lambda: state(session.daemon) in "ZX")
    _, said = session.process.communicate(timeout=20)

    assert "session" in said.splitlines()[-1]
    assert session.process.returncode == (-signal.SIGKILL if "front" in names else 125)


BUSY = """
import os
while True:
    for _ in range(4):
        if not os.fork():
            os.execv("/bin/cat", ["cat", "/app/config.yaml"])
    for _ in range(4):
        os.wait()
"""


@pytest.mark.both_engines
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", ["supervisor", "front"])
def test_a_part_that_is_killed_at_any_moment_leaves_nothing(line: Line, runner: Runner, victim: str) -> None:
    for _ in range(MOMENTS):
        with runner.start(line(SYSTEM_PYTHON, "-c", BUSY), reads=False) as process:
            read_line(process)
            chain = Chain.of(process.pid)
            for _ in range(random.randint(1, 50)):
                read_line(process)
            os.kill(getattr(chain, victim), signal.SIGKILL)
            _, said = process.communicate(timeout=20)
        # that nothing is left, the fixture for every test sees to
        assert "session" in said.splitlines()[-1]


def test_the_front_leaves_the_end_to_the_keeper(session: Session) -> None:
    chain = session.chain
    os.kill(chain.keeper, signal.SIGSTOP)
    os.kill(chain.supervisor, signal.SIGKILL)
    until("the front waits for its keeper", lambda: system_call(chain.front) == "rt_sigtimedwait")
    os.kill(chain.front, signal.SIGKILL)
    until("the front has ended", lambda: state(chain.front) in "ZX")
    os.kill(chain.keeper, signal.SIGCONT)

    until("the daemon has ended", lambda: state(session.daemon) in "ZX")
    _, said = session.process.communicate(timeout=20)
    assert "its supervisor and its front died" in said.splitlines()[-1]


@pytest.mark.both_engines
def test_a_program_that_leaves_a_daemon_ends_and_says_so(line: Line, runner: Runner, user: User) -> None:
    file = user.home / "left"
    with runner.start(line(*command("daemon"), str(file)), reads=False) as process:
        assert process.wait(20) == 0
        daemon = int(file.read_text())
        assert state(daemon) == "S"
        assert process.stderr is not None
        assert "1 process" in process.stderr.read()
        os.kill(daemon, signal.SIGTERM)
        until("the daemon has ended", lambda: state(daemon) == "X")


def test_what_ends_just_after_its_program_is_not_left_by_it(line: Line, runner: Runner) -> None:
    """On a busy machine it may take too long, so not every time."""

    def ended() -> bool:
        outcome = runner.run(line("sh", "-c", "sleep 0.05 & exit 3"))
        assert outcome.code == 3
        return "in the background" not in outcome.err

    until("the session has ended with both", ended, seconds=30)


def test_who_keeps_a_daemon_sleeps_whatever_signals_come(line: Line, runner: Runner, user: User) -> None:
    file = user.home / "left"
    with runner.start(line(*command("daemon"), str(file)), reads=False) as process:
        assert process.wait(20) == 0
        daemon = int(file.read_text())
        keeper = parent(parent(daemon))
        for _ in range(3):
            os.kill(keeper, signal.SIGWINCH)
            until("the keeper sleeps again", lambda: state(keeper) == "S" and not is_pending(keeper))
        os.kill(daemon, signal.SIGTERM)
        until("the keeper has ended", lambda: state(keeper) == "X")


@pytest.mark.both_engines
def test_a_killed_agent_fails_every_pending_call(
    line: Line, runner: Runner, sandbox: Sandbox, slow: Callable[..., Relay]
) -> None:
    link = slow()
    with runner.start(line(SYSTEM_PYTHON, "-c", PENDING), env=link.env) as process:
        assert read_line(process) == "ready"
        (agent,) = sandbox.agents()
        os.kill(agent, signal.SIGSTOP)
        write(process, "\n")
        until("all calls wait", lambda: _waiting(link))
        os.kill(agent, signal.SIGKILL)
        lines = [read_line(process) for _ in range(6)]
        _, said = process.communicate(timeout=20)

    assert lines[-1] == "end"
    failures = dict(text.split(" ", 1) for text in lines[:-1])
    assert set(failures) == {"open", "stat", "connect", "receive", "afterwards"}
    assert "no error" not in failures.values()
    assert "agent" in said.splitlines()[-1]


def _waiting(link: Relay) -> bool:
    counts = link.requests.counts
    return counts["open_file"] >= 1 and counts["list_directory"] >= 1 and counts["open_tcp"] >= 2


def test_a_link_that_cannot_be_brought_back_is_told(
    line: Line, runner: Runner, slow: Callable[..., Relay]
) -> None:
    link = slow()
    script = "echo ready; read go; cat /app/config.yaml; echo status $?"
    with runner.start(line("sh", "-c", script), env=link.env) as process:
        assert read_line(process) == "ready"
        link.refuse()
        assert process.stderr is not None
        while "agent is gone" not in process.stderr.readline():
            continue
        write(process, "go\n")
        assert read_line(process) == "status 1"
        assert process.wait(20) == 0


@pytest.mark.parametrize("limit", [12, 20, 23, 24])
def test_where_descriptors_run_out_it_ends_and_says_so(line: Line, runner: Runner, limit: int) -> None:
    """At some of these limits the program has begun and cannot be looked after as it ends."""
    limited = [
        "prlimit",
        f"--nofile={limit}",
        *line("sh", "-c", "cat /app/config.yaml; exit 7", options=["-q"]),
    ]

    session = runner.run(limited, timeout=30)

    assert "Traceback" not in session.err
    assert session.code == 7 or (session.code == EXIT_MIRRORD and "ulimit -n" in session.err)
