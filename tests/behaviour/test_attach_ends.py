"""Who of an attached process, its session and its keeper ends first, by itself or killed."""

import os
import random
import signal
from collections.abc import Callable

import pytest
from mirrord_seccomp.syscalls import current_arch, number

from ..support.attaching import Attaching, blocked, kill
from ..support.build import SYSTEM_PYTHON, command
from ..support.processes import is_pending, state
from ..support.relay import Relay
from ..support.waiting import until
from .soak import MOMENTS


def test_a_terminal_that_is_closed_asks_once(attaching: Attaching) -> None:
    """Who closes it sends SIGTERM as well; by a second demand the session would be killed."""
    with attaching.program(*command("attached"), "look") as running:
        with attaching.attached(running.pid) as session:
            supervisor, front = session.supervisor, session.process.pid
            os.kill(supervisor, signal.SIGSTOP)
            for number in (signal.SIGHUP, signal.SIGTERM):
                os.kill(front, number)
                until("it has been taken", lambda: state(front) == "S" and not is_pending(front))
            os.kill(supervisor, signal.SIGCONT)
            assert session.ended().code == 0
        running.end()


@pytest.mark.sample("current-ptrace-look-go-supervisor$|ordinary-ptrace-look-python-supervisor front")
@pytest.mark.both_engines
@pytest.mark.both_users
@pytest.mark.parametrize("victim", ["supervisor", "front", "supervisor front"])
@pytest.mark.parametrize("program", ["look-go", "look-python"])
def test_a_killed_session_leaves_the_process_alone(
    attaching: Attaching, pods_look: str, program: str, victim: str
) -> None:
    with attaching.program(*command(program)) as running:
        local = running.look()
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            for pid in session.victims(victim):
                kill(pid)
            outcome = session.ended()
        if victim == "supervisor":
            assert outcome.code == 125
            assert f"process {running.pid} goes on locally" in outcome.err
        assert running.look() == local
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            assert session.interrupt().code == 0
        running.end()


OPENS = """
import errno, os, signal, sys
def read():
    with open("/app/config.yaml", "rb") as file:
        return file.read()
def enter():
    os.chdir("/app")
    return os.getcwd().endswith("/app")
def place():
    os.close(fd := os.open("/app/config.yaml", os.O_PATH))
    return fd > 2
way = {"read": read, "enter": enter, "place": place}[sys.argv[1]]
ticks = 0
def tick(*_):
    global ticks
    ticks += 1
signal.signal(signal.SIGALRM, tick)
print("ready 0", flush=True)
sys.stdin.readline()
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
said = ""
while said != "ENOENT":
    try:
        said = "remote" if way() else "wrong"
    except OSError as error:
        said = errno.errorcode[error.errno]
    print(said, flush=True)
signal.setitimer(signal.ITIMER_REAL, 0)
before = ticks
signal.raise_signal(signal.SIGALRM)
print("ticks", ticks - before, flush=True)
"""


@pytest.mark.both_engines
@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["read", "enter", "place"])
def test_a_session_that_is_killed_at_any_moment_leaves_the_process_alone(
    attaching: Attaching, way: str
) -> None:
    """Also while the process is in the middle of something that the session has it do."""
    for _ in range(MOMENTS):
        with attaching.program(SYSTEM_PYTHON, "-c", OPENS, way) as running:
            with attaching.attached(running.pid) as session:
                running.ask()
                for _ in range(random.randint(1, 50)):
                    assert running.read() == "remote"
                kill(session.supervisor)
                session.ended()
            while (said := running.read()) == "remote":
                continue
            assert (said, running.read()) == ("ENOENT", "ticks 1")
            running.end()


@pytest.mark.notify_only("its sessions have no keeper")
@pytest.mark.both_users
def test_a_killed_keeper_is_replaced(attaching: Attaching, pods_look: str) -> None:
    with attaching.program(*command("look-go")) as running:
        local = running.look()
        with attaching.attached(running.pid) as session:
            kill(session.keeper(attaching.runner))
            assert session.process.stderr is not None
            while "it has another one" not in session.process.stderr.readline():
                continue
            assert running.look() == pods_look
            for pid in session.victims("supervisor front"):
                kill(pid)
            session.ended()
        assert running.look() == local
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            assert session.interrupt().code == 0
        assert running.look() == local
        running.end()


@pytest.mark.both_engines
def test_a_killed_session_answers_what_it_held(
    attaching: Attaching, slow: Callable[..., Relay], pods_look: str
) -> None:
    """A file is asked for over a link that is silent; when the session is killed, the kernel opens it."""
    opening = number("openat", current_arch())
    assert opening is not None
    link = slow()
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        with attaching.attached(running.pid, env=link.env) as session:
            link.stall()
            running.ask()
            blocked(running.pid, opening)
            kill(session.supervisor)
            assert running.read() == local
            assert session.ended().code == 125
        running.end()


def test_a_lost_agent_ends_the_session(attaching: Attaching, pods_look: str) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            (agent,) = attaching.sandbox.agents()
            kill(agent)
            outcome = session.ended()
        assert outcome.code == 125
        assert "the agent is gone" in outcome.err
        assert outcome.err.endswith(f"process {running.pid} goes on locally\n")
        assert running.look() == local
        running.end()


@pytest.mark.both_engines
def test_the_process_ends_first(attaching: Attaching, pods_look: str) -> None:
    with attaching.program(*command("attached"), "look") as running:
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            running.end()
            outcome = session.ended()
        assert outcome.code == 0
        assert f"process {running.pid} has ended" in outcome.err
    until("its keeper has gone with it", lambda: not attaching.keepers())
