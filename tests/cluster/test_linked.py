"""Commands that want the link and no program, in the cluster."""

import re
import secrets
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from ..support.ports import free_port
from ..support.serving import Serving, serving
from . import made
from .conftest import Session
from .test_replicas import Fleet

PORT = 8080
Start = Callable[..., Serving]


@pytest.fixture
def start(session: Session) -> Iterator[Start]:
    """Run commands with a target, each until the end of the test."""
    with ExitStack() as stack:

        def begin(verb: str, *options: str, target: str = "deployment/web") -> Serving:
            fixed = ["-t", target, "-n", session.workloads.namespace, "-i", made.AGENT_IMAGE]
            line = [session.runner.user.mirrord, *verb.split(), *fixed, *options]
            return stack.enter_context(serving(session.runner, line, env=session.environment()))

        yield begin


def test_a_port_leads_to_a_service_and_copies_come_from_every_pod(start: Start) -> None:
    word, port = secrets.token_hex(8), free_port()
    with closing(socket.create_server(("127.0.0.1", 0), backlog=1024)) as listener:
        ways = ["-L", f"{port}:web:80", "-R", f"{PORT}:{listener.getsockname()[1]}"]
        forward = start("port-forward", *ways)
        forward.wait(f"^mirrord: 127.0.0.1:{port} leads to web:80$")
        forward.wait(f"^mirrord: port {PORT} leads to 127.0.0.1:")
        forward.wait(rf"^mirrord: port {PORT} of \S.* is mirrored to this program$", count=3)
        # through the service, to whichever pod, whose port is copied here
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{word}", timeout=20) as answer:
            assert answer.status == 200
        until_it_brings(listener, word)
        assert forward.stop() == 0


def until_it_brings(listener: socket.socket, word: str) -> None:
    """Accept connections until one brings the word; the others are the kubelet's probes."""
    listener.settimeout(20)
    got = b""
    while word.encode() not in got:
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(20)
            got = b""
            while b"\r\n\r\n" not in got and (piece := sock.recv(65536)):
                got += piece


def test_what_clients_send_to_every_pod_is_printed(start: Start, session: Session) -> None:
    dump = start("dump", "-p", str(PORT))
    dump.wait(rf"^mirrord: port {PORT} of \S.* is mirrored", count=3)
    answered, paths = Fleet(session, "web").ask(3)
    assert answered == set(session.pods("app=web"))
    for path in paths:
        dump.wait(f"^GET {path} HTTP/1.1$")
    assert dump.stop() == 0


@pytest.mark.parametrize("target", ["deployment/web", "targetless"])
def test_how_long_the_agent_takes_to_answer(target: str, start: Start) -> None:
    diagnose = start("diagnose latency", target=target)
    assert diagnose.end() == 0
    least, most, mean = map(float, re.findall(r"[\d.]+", diagnose.lines[-1]))
    assert re.fullmatch(r"min [\d.]+ ms, max [\d.]+ ms, avg [\d.]+ ms", diagnose.lines[-1])
    assert 0 < least <= mean <= most
