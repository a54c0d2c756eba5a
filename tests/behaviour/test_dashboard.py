"""The dashboard, driven by keys in tmux."""

import contextlib
import json
import os
import re
import secrets
import shlex
import signal
from collections.abc import Iterator

import pytest

from ..conftest import Line
from ..support.attaching import Attaching
from ..support.build import ROOT, SYSTEM_PYTHON, command
from ..support.needs import tool
from ..support.ports import free_port
from ..support.processes import children, command_line, marked, name, state
from ..support.running import Runner, end_input, read_line
from ..support.sandboxes import Sandbox
from ..support.ssh import login
from ..support.tmux import Tmux, tmux
from ..support.user import User
from ..support.waiting import until

LOOP = "while :; do cat /app/config.yaml; cat /app/nothing; sleep 0.2; done"
KEPT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(f"GET {sys.argv[3]} HTTP/1.1\\r\\n".encode())
print("sent", flush=True)
sys.stdin.read()
"""
SIZES = [(60, 15), (80, 24), (200, 60)]


@contextlib.contextmanager
def _shell(runner: Runner, *, columns: int = 100, lines: int = 30) -> Iterator[Tmux]:
    """An interactive shell in a window."""
    env = runner.environment({"HISTFILE": "/dev/null", "LC_ALL": "C.UTF-8"})
    # the shell that tmux runs it by forgets a prompt
    words = [*runner.prefix(), "env", "PS1=READY> ", tool("bash"), "--norc", "--noprofile", "-i"]
    with tmux(words, env, ROOT, columns=columns, lines=lines) as one:
        one.expect("READY>")
        yield one


@pytest.fixture
def shell(runner: Runner) -> Iterator[Tmux]:
    """An interactive shell in a window of usual size."""
    with _shell(runner) as one:
        yield one


def _start(shell: Tmux, line: Line, *program: str, verb: str = "trace") -> None:
    # whatever the program's arguments have in them is not on the screen before
    shell.type(f"clear; {shlex.join(line.of(verb, *program, options=['-q']))}; echo code=$?")
    shell.keys("Enter")
    if verb == "trace":
        shell.expect("^ mirrord [0-9a-f]{8} ")


def _is_as_it_was(shell: Tmux) -> None:
    """Check that the terminal is in the normal screen, echoes, and shows its cursor."""
    until("the normal screen", lambda: shell.format("alternate_on") == "0")
    until("the cursor", lambda: shell.format("cursor_flag") == "1")
    shell.type("stty | grep -c -- -echo; echo visible")
    shell.keys("Enter")
    shell.expect("^0\nvisible$")


@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_every_size_shows_what_happens(runner: Runner, line: Line, columns: int, lines: int) -> None:
    with _shell(runner, columns=columns, lines=lines) as shell:
        _start(shell, line, "sh", "-c", LOOP)
        shell.expect("openat")
        shell.keys("2")
        shell.expect(r"cat: /app/nothing: No such file")
        rows = shell.screen().splitlines()
        assert len(rows) == lines
        assert rows[-1].startswith(" ? help")
        assert rows[0].startswith(" mirrord ")
        shell.keys("q")
        shell.expect("^code=")
        _is_as_it_was(shell)


@pytest.mark.both_users
def test_a_call_is_selected_and_explained(shell: Tmux, line: Line) -> None:
    _start(shell, line, "sh", "-c", LOOP)
    shell.type("r/config.yaml")
    shell.keys("Enter")
    shell.expect(r"▶ .*openat\(")
    shell.keys("p")
    shell.expect("calls: .*paused")
    shell.keys("Enter")
    shell.expect(r"why +no rule names it, and the mode is `read`")
    shell.expect('"/app/config.yaml"')
    shell.keys("Escape")
    shell.expect("calls: .*paused")
    shell.type("q")
    shell.expect("^code=")


def test_only_errors_are_shown(shell: Tmux, line: Line) -> None:
    _start(shell, line, "sh", "-c", LOOP)
    shell.expect("openat")
    shell.type("e")
    shell.expect("ENOENT ")
    shell.expect_gone(r"openat.* \? ")
    shell.type("?")
    shell.expect("pause, and go on")
    shell.type("xq")
    shell.expect("^code=")


def test_the_size_is_followed(shell: Tmux, line: Line) -> None:
    _start(shell, line, "bash", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done")
    shell.expect("calls per second")
    # it is told of a size from now on
    shell.expect("^│ ready ")
    shell.resize(60, 15)
    shell.expect_gone("calls per second")
    shell.keys("2")
    shell.expect(r"^│ 11 56 ")
    shell.resize(200, 60)
    shell.expect("remote files")
    assert len(shell.screen().splitlines()[0].rstrip()) <= 200
    shell.resize(20, 5)
    shell.expect("60×15 are needed")
    shell.resize(80, 24)
    shell.expect("calls per second")
    shell.type("q")
    shell.expect("^code=")


def test_keys_reach_an_interactive_program(shell: Tmux, line: Line) -> None:
    _start(shell, line, "bash", "--norc", "--noprofile", "-i")
    shell.keys("2")
    shell.type("iecho word-$((40+2))")
    shell.keys("Enter")
    shell.expect("^│ word-42 ")
    shell.keys("C-]")
    shell.expect(r"^ \? help")
    shell.type("?")
    shell.expect("pause, and go on")
    shell.type("xiexit 5")
    shell.keys("Enter")
    shell.expect("^code=5")
    _is_as_it_was(shell)


def test_much_output_never_garbles(shell: Tmux, line: Line) -> None:
    script = "for i in range(100000): print(i, '\\x1b[31mred\\x1b[0m' * 3)"
    _start(shell, line, SYSTEM_PYTHON, "-c", f"{script}\ninput('the end')")
    shell.keys("2")
    shell.expect(r"^│ 99999 redredred +│$", seconds=60)
    shell.expect(r"^│ the end")
    rows = shell.screen().splitlines()
    assert all(len(row) <= 100 for row in rows)
    shell.type("i")
    shell.keys("Enter")
    shell.expect("^code=0")
    # what it wrote last is still there when the view has gone
    shell.expect("^99999 redredred$")
    _is_as_it_was(shell)


def test_a_static_go_client(shell: Tmux, line: Line) -> None:
    client = shlex.join([*command("probe-go"), "echo.default.svc.cluster.local", "80", "30"])
    _start(shell, line, "sh", "-c", f"{client}; read word")
    shell.type("/connect(")
    shell.keys("Enter")
    shell.type("r")
    shell.expect(r"▶ .*connect\(10.96.0.20:80\)")
    shell.keys("6")
    shell.expect("= echo.default.svc.cluster.local A: 10.96.0.20")
    shell.type("q")
    shell.expect("^code=")


@pytest.mark.parametrize("way", ["mirror", "steal"])
def test_a_server_that_receives_requests(
    runner: Runner, sandbox: Sandbox, line: Line, user: User, way: str
) -> None:
    port = free_port()
    config = user.home / f"{secrets.token_hex(4)}.json"
    incoming = {"mode": way, "port_mapping": [[port, 8080]]}
    config.write_text(json.dumps({"feature": {"network": {"incoming": incoming}}}))
    words = line.of("trace", SYSTEM_PYTHON, "-m", "http.server", str(port), options=["-f", str(config)])
    with _shell(runner, columns=200, lines=60) as shell:
        shell.type(f"clear; {shlex.join(words)}; echo code=$?")
        shell.keys("Enter")
        shell.expect(f"port 8080 of {sandbox.hostname} is")
        path = f"/{secrets.token_hex(4)}"
        asking = sandbox.command(
            "run", tool("curl"), "-sS", "-o", "/dev/null", f"http://10.96.0.40:8080{path}"
        )
        assert runner.run(asking).code == 0
        # the program's own words, and what was read off the connection
        shell.expect(f'"GET {path} HTTP/1.1" 404')
        shell.expect(rf"│ 404 GET {path} .*│")
        kept = sandbox.command("run", SYSTEM_PYTHON, "-c", KEPT, "10.96.0.40", "8080", path)
        with runner.start(kept) as client:
            assert read_line(client) == "sent"
            shell.expect(rf"tcp +10\.244\.0\.1:\d+ .* {'copy' if way == 'mirror' else 'taken'} ")
            end_input(client)
            client.wait(20)
        shell.keys("q")
        shell.expect("^code=")
        _is_as_it_was(shell)
    config.unlink()


def test_a_server_of_http2(runner: Runner, sandbox: Sandbox, line: Line, user: User) -> None:
    port = free_port()
    config = user.home / f"{secrets.token_hex(4)}.json"
    incoming = {"mode": "steal", "port_mapping": [[port, 8080]]}
    config.write_text(json.dumps({"feature": {"network": {"incoming": incoming}}}))
    words = line.of("trace", *command("serve-http2"), str(port), "local", options=["-f", str(config)])
    with _shell(runner, columns=200, lines=60) as shell:
        shell.type(f"clear; {shlex.join(words)}; echo code=$?")
        shell.keys("Enter")
        shell.expect(f"port 8080 of {sandbox.hostname} is")
        path = f"/{secrets.token_hex(4)}"
        url = f"http://10.96.0.40:8080{path}"
        asking = sandbox.command("run", tool("curl"), "-sS", "--http2-prior-knowledge", url)
        assert runner.run(asking).code == 0
        shell.expect(rf"│ 200 GET {path} .*│")
        shell.keys("q")
        shell.expect("^code=")
    config.unlink()


def test_ctrl_c_interrupts_the_program(shell: Tmux, line: Line) -> None:
    _start(shell, line, "bash", "-c", "trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done")
    shell.expect("^│ ready ")
    shell.keys("C-c")
    shell.expect("code=9$")
    _is_as_it_was(shell)


def test_it_ends_with_the_program(shell: Tmux, line: Line) -> None:
    words = line.of("trace", "sh", "-c", "echo said; exit 4", options=["-q"])
    shell.type(f"clear; {shlex.join(words)}; echo code=$?")
    shell.keys("Enter")
    shell.expect("^said\ncode=4")
    _is_as_it_was(shell)


def _processes(shell: Tmux) -> tuple[int, int]:
    """Return the guard and the dashboard."""
    bash = int(shell.format("pane_pid"))
    while True:
        below = children(bash)
        guards = [pid for pid in below if len(children(pid)) == 2]
        if guards:
            break
        (bash,) = below
    (guard,) = guards
    (dashboard,) = (pid for pid in children(guard) if os.getsid(pid) == os.getsid(guard))
    return guard, dashboard


def test_it_ends_by_sigterm(shell: Tmux, line: Line) -> None:
    _start(shell, line, "sh", "-c", LOOP)
    shell.expect("openat")
    guard, _ = _processes(shell)
    os.kill(guard, signal.SIGTERM)
    until("its end", lambda: state(guard) in "ZX")
    _is_as_it_was(shell)


def test_the_program_goes_on_when_the_dashboard_is_killed(shell: Tmux, line: Line) -> None:
    _start(shell, line, "sh", "-c", "read word; echo got $word; exit 6")
    shell.expect("calls per second")
    _, dashboard = _processes(shell)
    os.kill(dashboard, signal.SIGKILL)
    shell.expect("the dashboard was killed; the program goes on here")
    shell.type("something")
    shell.keys("Enter")
    shell.expect("^got something")
    shell.expect("^code=6")
    _is_as_it_was(shell)


@pytest.mark.both_users
def test_a_running_session_is_looked_at(runner: Runner, shell: Tmux, line: Line) -> None:
    with runner.start(line("sh", "-c", LOOP, options=["-q"])) as session:
        until("the session", lambda: _ids(runner, line))
        shell.type(f"clear; {line.user.mirrord} dashboard {_ids(runner, line)[0][:6]}; echo code=$?")
        shell.keys("Enter")
        shell.expect("openat")
        shell.keys("q")
        shell.expect("^code=0")
        _is_as_it_was(shell)
        assert session.poll() is None
        done = runner.run([line.user.mirrord, "sessions", "stop", *_ids(runner, line)])
        assert done.code == 0
        session.communicate(timeout=20)
        assert session.returncode == -signal.SIGTERM


def _ids(runner: Runner, line: Line) -> list[str]:
    return re.findall(r'"id": "(\w+)"', runner.run([line.user.mirrord, "sessions", "--json"]).out)


def test_a_session_that_ends_ends_the_view(runner: Runner, shell: Tmux, line: Line) -> None:
    with runner.start(line("sh", "-c", "read word", options=["-q"])) as session:
        until("the session", lambda: _ids(runner, line))
        shell.type(f"clear; {line.user.mirrord} dashboard; echo code=$?")
        shell.keys("Enter")
        shell.expect("calls per second")
        session.communicate("word\n", timeout=20)
        shell.expect("^code=0")
        _is_as_it_was(shell)


def test_without_colour(runner: Runner, line: Line) -> None:
    with _shell(runner) as shell:
        shell.type("export NO_COLOR=1")
        shell.keys("Enter")
        _start(shell, line, "sh", "-c", LOOP)
        # what sleep opens fills the list for most of the time
        shell.type("r")
        shell.expect(r"▶ .*openat\(")
        assert not re.search(r"\x1b\[[0-9;]*3[1-7]m", shell.styled())
        shell.type("q")
        shell.expect("^code=")


def test_a_terminal_that_has_neither_colours_nor_a_second_screen(shell: Tmux, line: Line) -> None:
    shell.type("export TERM=vt100 LC_ALL=C")
    shell.keys("Enter")
    _start(shell, line, "sh", "-c", LOOP)
    shell.type("r")
    shell.expect(r"> .*openat\(")
    assert shell.format("alternate_on") == "0"
    drawn = shell.styled()
    assert drawn.isascii()
    assert not re.search(r"\x1b\[[0-9;]*[34][0-8]", drawn)
    assert re.search(r"\x1b\[[0-9;]*7m", drawn)
    shell.type("q")
    shell.expect("^code=1(29|43)\nREADY>")
    # nothing of the view is left
    assert shell.screen().rstrip().endswith("READY>")
    _is_as_it_was(shell)


@pytest.mark.parametrize("name", ["vt52", "dumb"])
def test_a_terminal_that_cannot_be_drawn_on_gets_lines(shell: Tmux, line: Line, name: str) -> None:
    shell.type(f"export TERM={name}")
    shell.keys("Enter")
    words = line.of("trace", "cat", "/app/nothing", options=["-q"])
    shell.type(f"clear; {shlex.join(words)}; {line.user.mirrord} dashboard")
    shell.keys("Enter")
    shell.expect('openat.*"/app/nothing".* ENOENT ')
    shell.expect(f"this terminal can show no dashboard .TERM={name}")


def test_over_ssh(runner: Runner, user: User, line: Line) -> None:
    script = "trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done"
    words = line.of("trace", "bash", "-c", script, options=["-q"])
    environment = runner.environment({"LC_ALL": "C.UTF-8"})
    del environment["TERM"]
    with login(user, environment) as ssh, _shell(runner) as shell:
        before = marked(runner.mark)

        def start() -> None:
            shell.type(f"clear; {shlex.join([*ssh, '-t', shlex.join(words)])}; echo code=$?")
            shell.keys("Enter")
            shell.expect("^│ ready ")

        start()
        shell.resize(60, 15)
        until("the small view", lambda: shell.screen().splitlines()[14].startswith(" ? help"))
        shell.type("q")
        shell.expect("^code=1(29|43)")
        _is_as_it_was(shell)
        shell.resize(100, 30)
        start()
        shell.keys("C-c")
        shell.expect("code=9$")
        _is_as_it_was(shell)
        start()
        (client,) = (pid for pid in marked(runner.mark) if name(pid) == "ssh")
        os.kill(client, signal.SIGKILL)
        shell.expect("^code=137")
        until(
            "its end", lambda: set(marked(runner.mark)) <= set(before), describe=lambda: _left(runner, before)
        )


def _left(runner: Runner, before: list[int]) -> str:
    return "\n".join(f"{pid}: {command_line(pid)}" for pid in marked(runner.mark) if pid not in before)


def test_a_process_that_runs_already(shell: Tmux, attaching: Attaching) -> None:
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        line = [attaching.user.mirrord, "trace", "-t", attaching.sandbox.target, "--attach", str(running.pid)]
        shell.type(f"clear; {shlex.join(line)}; echo code=$?")
        shell.keys("Enter")
        # what mirrord itself says is in the place of the program's output, which has a terminal of its own
        shell.keys("2")
        shell.expect("unchanged: its environment")
        assert running.look() != local
        shell.type("1r")
        shell.expect(r"▶ .*openat\(")
        shell.keys("q")
        shell.expect("^code=0")
        _is_as_it_was(shell)
        assert running.look() == local
        running.end()
