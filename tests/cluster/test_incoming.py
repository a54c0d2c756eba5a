"""A program gets the connections of its pod, in a real cluster."""

import json
import secrets
import subprocess
from pathlib import Path

import pytest

from ..support.build import SYSTEM_PYTHON
from ..support.running import read_line
from .conftest import Session

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        # by one write: print makes two, and there is a thread for each request
        sys.stdout.write(self.path + "\\n")
        sys.stdout.flush()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


@pytest.mark.parametrize("way", ["mirrored", "stolen"])
def test_a_request_to_the_pod(way: str, session: Session) -> None:
    pod = session.pods("app=web")[0]
    address = session.cluster.get("pod", pod, f"--namespace={session.workloads.namespace}")["status"]["podIP"]
    path, answer = f"/{secrets.token_hex(4)}", secrets.token_hex(8)
    line = session.line(
        f"pod/{pod}", SYSTEM_PYTHON, "-c", SERVER, answer, options=["--steal"] * (way == "stolen")
    )

    with session.runner.start(line, env=session.environment()) as server:
        wait_for(f"port 8080 of {pod} is {way}", server)
        if way == "stolen":
            wait_for("the readiness probe of ", server)
        own = f"{pod} {session.workloads.greeting}\n"
        got = session("targetless", "curl", "-sS", f"http://{address}:8080{path}").out
        assert got == (answer if way == "stolen" else own)
        while (seen := read_line(server)) != path:
            assert seen == "/"  # the kubelet's probes come here, too
        server.terminate()
        server.communicate(timeout=30)
    assert session("targetless", "curl", "-sS", f"http://{address}:8080{path}").out == own


@pytest.mark.parametrize(
    ("capability", "said"),
    [
        ("NET_RAW", "is not mirrored: the agent may not capture"),
        ("NET_ADMIN", "is not stolen: connections cannot be stolen: the agent may not change"),
    ],
)
def test_a_capability_that_is_taken_away(
    capability: str, said: str, session: Session, tmp_path: Path
) -> None:
    file = tmp_path / "mirrord.json"
    file.write_text(json.dumps({"agent": {"disabled_capabilities": [capability]}}))
    options = ["-f", str(file), *["--steal"] * (capability == "NET_ADMIN")]
    pod = session.pods("app=web")[0]
    line = session.line(f"pod/{pod}", SYSTEM_PYTHON, "-c", SERVER, "none", options=options)
    with session.runner.start(line, env=session.environment()) as server:
        wait_for(f"port 8080 of {pod} {said}", server)
        # everything else works
        assert server.poll() is None
        server.terminate()
        server.communicate(timeout=30)


def wait_for(said: str, server: "subprocess.Popen[str]") -> None:
    """Wait until a session has said something; fail if it ends instead."""
    wait_for_all({said}, server)


def wait_for_all(said: set[str], server: "subprocess.Popen[str]") -> None:
    """Wait until a session has said all of this, in any order; fail if it ends instead."""
    assert server.stderr is not None
    seen: list[str] = []
    while left := {text for text in said if not any(text in line for line in seen)}:
        if not (line := server.stderr.readline()):
            pytest.fail(f"it ended, and did not say {left}: {seen}")
        seen.append(line)
        print(line, end="")
