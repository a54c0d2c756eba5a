"""Commands that want the link and no program, in the cluster."""

import secrets
import socket
import urllib.request
from contextlib import closing

from ..support.ports import free_port
from ..support.serving import serving
from . import made
from .conftest import Session

PORT = 8080


def test_a_port_leads_to_a_service_and_copies_come_from_every_pod(session: Session) -> None:
    word, port = secrets.token_hex(8), free_port()
    fixed = ["-t", "deployment/web", "-n", session.workloads.namespace, "-i", made.AGENT_IMAGE]
    with closing(socket.create_server(("127.0.0.1", 0), backlog=1024)) as listener:
        ways = ["-L", f"{port}:web:80", "-R", f"{PORT}:{listener.getsockname()[1]}"]
        line = [session.runner.user.mirrord, "port-forward", *fixed, *ways]
        with serving(session.runner, line, env=session.environment()) as forward:
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
