"""``mirrord attach`` and ``detach``: a process that runs comes under a session, and goes on locally after."""

import json
import os
import random
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from mirrord_seccomp.syscalls import current_arch, number

from ..support.attaching import Attaching, Running, blocked, kill
from ..support.build import SOURCES, SYSTEM_PYTHON, command
from ..support.needs import tool
from ..support.ports import free_port
from ..support.processes import is_pending, state
from ..support.relay import Relay
from ..support.running import Outcome, Runner, read_line, write
from ..support.sandboxes import Sandbox
from ..support.servers import CLIENT4, PYTHON, WEB
from ..support.user import User
from ..support.waiting import until
from .soak import ATTACHES, MOMENTS

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


def test_a_program_that_makes_no_call_is_attached_to(attaching: Attaching) -> None:
    with attaching.program("sh", "-c", "echo ready 0; exec sleep 1000") as running:
        for _ in range(2):
            with attaching.attached(running.pid) as session:
                assert session.interrupt().code == 0
        os.kill(running.pid, signal.SIGTERM)
        assert running.process.wait(20) == -signal.SIGTERM


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
