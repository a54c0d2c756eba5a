"""``mirrord attach`` and ``detach``: a process that runs comes under a session, and goes on locally after."""

from collections.abc import Callable, Sequence

import pytest
from mirrord_seccomp.syscalls import current_arch, number

from ..support.attaching import Attaching, blocked, kill
from ..support.build import command
from ..support.relay import Relay
from ..support.running import Outcome, Runner
from ..support.sandboxes import Sandbox
from ..support.user import User
from ..support.waiting import until
from .soak import SOAK

LOOKS = ("look-go", "look-java", "look-node", "look-python")
CALLS = {
    "read": "read",
    "poll": "poll",
    "epoll_wait": "epoll_wait",
    "accept": "accept",
    "recvfrom": "recvfrom",
    "futex": "futex",
    "nanosleep": "clock_nanosleep",
}


@pytest.fixture
def attaching(user: User, runner: Runner, sandbox: Sandbox) -> Attaching:
    """Attach to programs of this test."""
    return Attaching(user, runner, sandbox)


@pytest.fixture
def pods_look(runner: Runner, sandbox: Sandbox) -> str:
    """What a program in the pod sees."""
    line = sandbox.command("exec", *command("attached"), "look")
    ready, seen = runner.run(line, input="l\n").lines
    assert ready == "ready 0"
    assert seen.startswith(sandbox.config)
    return seen


def asked(outcome: Outcome) -> Sequence[int]:
    """Return how often the agent was asked for a file, a datagram's way, and a connection."""
    return [outcome.statistics.get(name, 0) for name in ("open_file", "open_udp", "open_tcp")]


@pytest.mark.both_users
@pytest.mark.parametrize("program", LOOKS)
def test_a_program_with_many_threads(attaching: Attaching, pods_look: str, program: str) -> None:
    with attaching.program(*command(program)) as running:
        local = running.look()
        assert local != pods_look

        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            assert running.look() == pods_look
            outcome = session.interrupt()
        assert outcome.code == 0
        assert all(asked(outcome))

        assert running.look() == local
        assert len(attaching.keepers()) == 1
        running.end()
    until("its keeper has gone with it", lambda: not attaching.keepers())


@pytest.mark.both_users
@pytest.mark.parametrize("way", CALLS)
def test_a_blocked_call_does_not_notice(attaching: Attaching, pods_look: str, way: str) -> None:
    called = number(CALLS[way], current_arch())
    assert called is not None
    with attaching.program(*command("attached"), way) as running:
        blocked(running.pid, called)
        with attaching.attached(running.pid) as session:
            running.release(way)
            assert running.read() == f"{way} {0 if way in ('futex', 'nanosleep') else 1} ok"
            assert running.look() == pods_look
            assert all(asked(session.interrupt()))
        running.end()


@pytest.mark.both_users
def test_detach(attaching: Attaching, pods_look: str) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            detached = attaching.detach(running.pid)
            assert (detached.code, detached.err) == (0, f"mirrord: process {running.pid} goes on locally\n")
            assert running.look() == local
            assert session.ended().code == 0

        again = attaching.detach(running.pid)
        assert again.code == 1
        assert "has no session" in again.err
        running.end()


def test_attaching_again_through_the_keeper(attaching: Attaching, pods_look: str) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        for _ in range(100 if SOAK else 5):
            with attaching.attached(running.pid) as session:
                assert running.look() == pods_look
                assert all(asked(session.interrupt()))
            assert running.look() == local
        assert running.filters() == 1
        running.end()


def test_a_later_session_has_other_settings(attaching: Attaching, sandbox: Sandbox) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look().split()
        with attaching.attached(running.pid, "--no-outgoing", "--no-remote-dns") as session:
            seen = running.look().split()
            assert seen[0] == sandbox.config
            assert seen[1:3] == local[1:3]
            assert session.interrupt().code == 0
        with attaching.attached(running.pid, "--fs-mode", "local") as session:
            seen = running.look().split()
            assert seen[0] == local[0]
            assert seen[2] == "ECONNREFUSED"
            assert session.interrupt().code == 0
        running.end()


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
