"""``mirrord attach`` and ``detach``: a process that runs comes under a session, and goes on locally after."""

import json
import os
import signal
import socket
from collections.abc import Callable, Sequence

import pytest
from mirrord_seccomp.syscalls import current_arch, number

from ..support.attaching import Attaching, blocked
from ..support.build import SOURCES, SYSTEM_PYTHON, command
from ..support.needs import tool
from ..support.ports import free_port
from ..support.running import Outcome, Runner
from ..support.sandboxes import Sandbox
from ..support.servers import CLIENT4, PYTHON, WEB
from ..support.user import User
from ..support.waiting import until
from .soak import ATTACHES

WORKERS = str(SOURCES / "attach")

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


def asked(outcome: Outcome) -> Sequence[int]:
    """Return how often the agent was asked for a file, a datagram's way, and a connection."""
    return [outcome.statistics.get(name, 0) for name in ("open_file", "open_udp", "open_tcp")]


@pytest.mark.sample("ordinary-ptrace-look-go|current-ptrace-look-python")
@pytest.mark.both_engines
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
        assert len(attaching.keepers()) == attaching.stays
        running.end()
    until("its keeper has gone with it", lambda: not attaching.keepers())


@pytest.mark.sample("current-ptrace-(epoll_wait|accept)")
@pytest.mark.both_engines
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


@pytest.mark.sample("current-ptrace")
@pytest.mark.both_engines
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
        assert ("has no session" if attaching.stays else "has not been attached to") in again.err
        running.end()


def test_stopping_its_session_lets_go_of_it(attaching: Attaching, pods_look: str) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            listed = attaching.sessions("list", "--json")
            (found,) = [entry for entry in json.loads(listed.out) if entry["pid"] == running.pid]

            stopped = attaching.sessions("stop", found["id"])
            assert (stopped.code, stopped.err) == (0, "")
            assert session.ended().code == 0
        assert running.look() == local
        running.end()


@pytest.mark.soak
@pytest.mark.timeout(900)  # a hundred sessions
def test_attaching_again_through_the_keeper(attaching: Attaching, pods_look: str) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        for _ in range(ATTACHES):
            with attaching.attached(running.pid) as session:
                assert running.look() == pods_look
                assert all(asked(session.interrupt()))
            assert running.look() == local
        assert running.filters() == attaching.stays
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


def test_a_program_that_makes_no_call_is_attached_to(attaching: Attaching) -> None:
    with attaching.program("sh", "-c", "echo ready 0; exec sleep 1000") as running:
        for _ in range(2):
            with attaching.attached(running.pid) as session:
                assert session.interrupt().code == 0
        os.kill(running.pid, signal.SIGTERM)
        assert running.process.wait(20) == -signal.SIGTERM


@pytest.mark.both_engines
def test_children_come_along_if_asked(attaching: Attaching, pods_look: str) -> None:
    line = [*command("attached"), "look"]
    script = (
        "import subprocess, sys; print('ready 0', flush=True);"
        "sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    )
    with attaching.program(SYSTEM_PYTHON, "-c", script, *line) as running:
        assert running.read() == "ready 0"
        local = running.look()
        with attaching.attached(running.pid) as session:
            assert running.look() == local
            assert session.interrupt().code == 0
        with attaching.attached(running.pid, "--descendants") as session:
            assert running.look() == pods_look
            assert len(attaching.keepers()) == 2
            assert session.interrupt().code == 0
        assert running.look() == local
        running.end()


@pytest.mark.both_engines
def test_children_born_later_are_in_the_session(attaching: Attaching, pods_look: str) -> None:
    line = [*command("attached"), "look"]
    script = (
        "import subprocess, sys; print('ready 0', flush=True)\n"
        "while sys.stdin.readline():\n"
        " print(subprocess.run(sys.argv[1:], input='l\\n', capture_output=True, text=True)"
        ".stdout.splitlines()[1], flush=True)"
    )
    with attaching.program(SYSTEM_PYTHON, "-c", script, *line) as running:
        local = running.look()
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            assert all(asked(session.interrupt()))
        assert running.look() == local
        running.end()


@pytest.mark.both_users
def test_file_calls_are_not_interrupted_between_sessions(attaching: Attaching) -> None:
    """Signals end calls before the keeper has received them; it repairs their frames as a session does."""
    line = [*command("alarms"), "20000", "/etc/passwd", "/usr/bin/env"]
    script = (
        "import subprocess, sys; print('ready 0', flush=True)\n"
        "while sys.stdin.readline():\n"
        " done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        " print(*done.stdout.splitlines(), flush=True)"
    )
    with attaching.program(SYSTEM_PYTHON, "-c", script, *line) as running:
        with attaching.attached(running.pid) as session:
            assert session.interrupt().code == 0
        assert running.look() == "interrupted 0 failed 0 alarms yes"
        running.end()


def test_root_attaches_to_another_users_process(
    attaching: Attaching, everybody: Callable[[str], User], pods_look: str
) -> None:
    other = Runner(everybody("ordinary"), attaching.runner.mark)
    with Attaching(other.user, other, attaching.sandbox).program(*command("attached"), "look") as running:
        local = running.look()
        with attaching.attached(running.pid) as session:
            assert running.look() == pods_look
            assert all(asked(session.interrupt()))
        assert running.look() == local
        running.end()


def test_what_it_serves_already_stays_within_its_reach(attaching: Attaching, pods_look: str) -> None:
    """Its own listener is on this machine: a connection to it is not looked for in the pod."""
    script = (
        "import socket, sys; server = socket.create_server(('127.0.0.1', 0)); print('ready 0', flush=True)\n"
        "while sys.stdin.readline():\n"
        " client = socket.create_connection(server.getsockname()); other, _ = server.accept()\n"
        " client.sendall(b'word'); print(other.recv(4).decode(), flush=True)"
    )
    with attaching.program(SYSTEM_PYTHON, "-c", script) as running:
        assert running.look() == "word"
        with attaching.attached(running.pid) as session:
            assert running.look() == "word"
            assert asked(session.interrupt())[2] == 0
        running.end()


SERVER = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready 0", flush=True)
while True:
    connection, peer = server.accept()
    with connection:
        print(connection.recv(1000).split()[1].decode(), peer[0], flush=True)
"""


def test_a_socket_that_listens_already_gets_the_pods_connections(
    attaching: Attaching, sandbox: Sandbox, user: User
) -> None:
    """The first accept waits in the kernel since before; it tells nobody whose connection it got."""
    port = free_port()
    config = user.home / "incoming.json"
    config.write_text(json.dumps({"feature": {"network": {"incoming": {"port_mapping": [[port, 8080]]}}}}))
    with attaching.program(SYSTEM_PYTHON, "-c", SERVER, str(port)) as running:
        with attaching.attached(running.pid, "-f", str(config)) as session:
            for path in ("/?first", "/?second", "/?third"):
                line = sandbox.command("run", tool("curl"), "-sS", f"http://10.96.0.40:8080{path}")
                assert json.loads(attaching.runner.run(line).out)["server"] == sandbox.hostname
                asked_for, peer = running.read().split()
                assert asked_for == path
                assert path == "/?first" or peer == "10.244.0.1"
            outcome = session.interrupt()
        assert f"port 8080 of {sandbox.hostname} is mirrored to this program" in outcome.err
        socket.create_connection(("127.0.0.1", port)).close()
    config.unlink()


@pytest.mark.both_users
def test_a_gunicorn_with_workers(attaching: Attaching, pods_look: str, user: User, sandbox: Sandbox) -> None:
    port = free_port()
    config = user.home / "gunicorn.json"
    config.write_text(json.dumps({"feature": {"network": {"incoming": {"port_mapping": [[port, 8080]]}}}}))
    options = ["-c", "python:workers", "-b", f"0.0.0.0:{port}", "--no-control-socket"]

    python = ["env", f"PYTHONPATH={WORKERS}", PYTHON]
    gunicorn = [*python, "-m", "gunicorn", *options, "workers:application"]

    def seen(path: str) -> tuple[str, str, str]:
        worker, peer, asked_for, look = running.read().split(" ", 3)
        assert asked_for == path
        return worker, peer, look

    with attaching.program(*gunicorn) as running:
        workers = {running.read().removeprefix("worker ") for _ in range(3)}
        here = [tool("curl"), "-sS", f"http://127.0.0.1:{port}/?here"]
        assert attaching.runner.run(here).out == "local\n"
        worker, peer, local = seen("here")
        assert local != pods_look
        for turn in range(2):
            with attaching.attached(running.pid, "-f", str(config), "--descendants") as session:
                asked_by = set()
                for number in range(4):
                    path = f"{turn}{number}"
                    line = sandbox.command("run", tool("curl"), "-sS", f"http://{WEB}:8080/?{path}")
                    assert json.loads(attaching.runner.run(line).out)["server"] == sandbox.hostname
                    worker, peer, look = seen(path)
                    # and the next connection of the worker has gone through the target
                    assert (peer, look) == (CLIENT4, pods_look)
                    asked_by.add(worker)
                assert asked_by <= workers
                assert all(asked(session.interrupt()))
            assert attaching.runner.run(here).out == "local\n"
            assert seen("here")[2] == local
        os.kill(running.pid, signal.SIGTERM)
        assert running.process.wait(20) == 0
    config.unlink()
