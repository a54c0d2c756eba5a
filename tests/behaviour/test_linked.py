"""Commands that want the link and no program: port-forward, dump and diagnose."""

import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Protocol

import pytest

from ..support.needs import tool
from ..support.ports import free_port
from ..support.running import Outcome, Runner
from ..support.sandboxes import Sandbox
from ..support.servers import CLIENT4, WEB
from ..support.serving import Serving, serving
from .conftest import Ask

PORT = 8080


class Start(Protocol):
    """Starts one of the commands."""

    def __call__(self, verb: str, *options: str) -> Serving:
        """Return it at once."""
        ...


@pytest.fixture
def start(runner: Runner, sandbox: Sandbox) -> Iterator[Start]:
    """Run commands with the sandbox as their target, each until the end of the test."""
    with ExitStack() as stack:

        def begin(verb: str, *options: str) -> Serving:
            line = [runner.user.mirrord, verb, "-t", sandbox.target, *options]
            return stack.enter_context(serving(runner, line))

        yield begin


def fetch(port: int, path: str) -> bytes:
    """Send a request to a port of this machine; return the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\nHost: any\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.mark.both_users
@pytest.mark.parametrize("host", [WEB, "web", "web.default.svc.cluster.local"])
def test_a_port_here_leads_to_what_the_target_reaches(host: str, start: Start, sandbox: Sandbox) -> None:
    port = free_port()
    forward = start("port-forward", "-L", f"{port}:{host}:{PORT}")
    forward.wait(f"^mirrord: 127.0.0.1:{port} leads to {host}:{PORT}$")
    for _ in range(2):
        assert sandbox.hostname.encode() in fetch(port, "/")
    assert forward.stop() == 0


def test_what_cannot_be_reached_is_told_and_the_client_is_refused(start: Start) -> None:
    port = free_port()
    forward = start("port-forward", "-L", f"{port}:{WEB}:{PORT + 1}", "-L", f"{free_port()}:none.example:1")
    forward.wait("leads to", count=2)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as sock,
        pytest.raises(ConnectionResetError),
    ):
        sock.recv(1)
    forward.wait(f"^mirrord: {WEB}:{PORT + 1} cannot be reached from the target: connection refused$")
    forward.stop()


def test_a_local_port_that_is_taken(start: Start) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        forward = start("port-forward", "-L", f"{port}:{WEB}:{PORT}")
        assert forward.end() == 125
    (said,) = forward.wait("cannot be listened to")
    assert "address already in use; name another before it: -L LOCAL:HOST:PORT" in said.string


def receive(listener: socket.socket, wanted: str) -> tuple[socket.socket, bytes]:
    """Accept a connection; return it with what it has brought when that has the word in it."""
    listener.settimeout(20)
    sock, _ = listener.accept()
    sock.settimeout(20)
    got = b""
    while wanted.encode() not in got:
        piece = sock.recv(65536)
        assert piece, got
        got += piece
    return sock, got


def test_a_copy_of_what_clients_send_comes_to_a_port_here(start: Start, ask: Ask, sandbox: Sandbox) -> None:
    word = secrets.token_hex(8)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        forward = start("port-forward", "-R", f"{PORT}:{port}")
        forward.wait(f"^mirrord: port {PORT} leads to 127.0.0.1:{port}$")
        assert ask(f"?{word}")["peer"] == CLIENT4
        sock, _ = receive(listener, word)
        sock.close()
    assert forward.stop() == 0


def test_stolen_connections_are_answered_here(
    start: Start, client: Callable[..., Outcome], sandbox: Sandbox, runner: Runner
) -> None:
    word = secrets.token_hex(8)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        forward = start("port-forward", "--steal", "-R", f"{PORT}:{listener.getsockname()[1]}")
        forward.wait(f"^mirrord: port {PORT} leads to")
        url = f"http://{WEB}:{PORT}/{word}"
        with serving(runner, sandbox.command("run", tool("curl"), "-sS", url)) as curl:
            sock, _ = receive(listener, word)
            sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nhere")
            sock.close()
            curl.end()
    assert curl.lines == ["here"]
    assert forward.stop() == 0
    assert sandbox.hostname in client(tool("curl"), "-sS", f"http://{WEB}:{PORT}/").out


@pytest.mark.both_users
def test_what_clients_send_is_printed(start: Start, ask: Ask, sandbox: Sandbox) -> None:
    word = secrets.token_hex(8)
    dump = start("dump", "-p", str(PORT))
    dump.wait(rf"^mirrord: port {PORT} of {sandbox.hostname} .*is mirrored")
    ask(f"?{word}", "--data-binary", f"sent-{word}\n")
    dump.wait(f"^POST /.{word} HTTP/1.1$")
    dump.wait(f"^sent-{word}$")
    (head,) = dump.wait(f"^-- {re.escape(CLIENT4)}:")
    assert head.string.endswith(f":{PORT}")
    assert dump.stop() == 0


def test_nothing_to_print(start: Start) -> None:
    dump = start("dump")
    assert dump.end() == 2
    dump.wait("^mirrord: the target names no ports; name those that are meant: -p PORT$")


def test_how_long_the_agent_takes_to_answer(start: Start) -> None:
    diagnose = start("diagnose", "latency", "-v")
    assert diagnose.end() == 0
    least, most, mean = map(float, re.findall(r"[\d.]+", diagnose.lines[-1]))
    assert re.fullmatch(r"min [\d.]+ ms, max [\d.]+ ms, avg [\d.]+ ms", diagnose.lines[-1])
    assert 0 < least <= mean <= most
    assert len(diagnose.wait(r"^mirrord: \d+ of 100: [\d.]+ ms$", count=100)) == 100
