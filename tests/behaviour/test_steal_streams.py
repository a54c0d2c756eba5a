"""What a filter has to do with more than small requests: streams, upgrades, large bodies and attacks."""

import contextlib
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ..support.build import SOURCES, command
from ..support.needs import tool
from ..support.running import Outcome, Runner, read_line, write
from ..support.sandboxes import Sandbox
from ..support.servers import POD4, PYTHON
from ..support.serving import Serving
from .conftest import Configured, Serve
from .soak import BODY
from .test_steal import MINE, stolen

PORT = 9090
URL = f"http://{POD4}:{PORT}"
ROOM = 32
"""MiB by which the agent may grow."""
SOCKETRY = (PYTHON, str(SOURCES / "steal" / "socketry.py"))


Record = Callable[[str, object], None]
"""Keeps a number for the soak's report."""


class Twice(Protocol):
    """Runs a server twice: as the pod's, and in a session that takes requests of the user ``me``."""

    def __call__(self, *argv: str) -> Serving:
        """Return the session; the server's last arguments are the port and ``original`` or ``local``."""
        ...


@pytest.fixture
def twice(serve: Serve, runner: Runner, sandbox: Sandbox, configured: Configured) -> Iterator[Twice]:
    """Run servers twice."""
    with contextlib.ExitStack() as stack:

        def start(*argv: str) -> Serving:
            line = sandbox.command("exec", *argv, str(PORT), "original")
            original = stack.enter_context(runner.start(line))
            stack.callback(original.terminate)
            assert read_line(original) == "ready"
            session = serve(*argv, str(PORT), "local", options=configured(MINE))
            session.wait(stolen(sandbox, PORT))
            session.wait("^ready$")
            return session

        yield start


def memory(sandbox: Sandbox) -> float:
    """Return how many MiB the agent has had at most."""
    status = Path(f"/proc/{sandbox.agents()[0]}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def growth(sandbox: Sandbox, before: float, record: Record) -> float:
    """Return how many MiB the agent has had more, at most, than ``before``; keep both for the report."""
    most = memory(sandbox)
    record("agent's MiB at first", round(before))
    record("at most", round(most))
    return most - before


WHO = pytest.mark.parametrize(("who", "word"), [("me", "local"), ("you", "original")])


@WHO
def test_websockets(twice: Twice, client: Callable[..., Outcome], who: str, word: str) -> None:
    """Both kinds of messages, in both directions, and the code of the end."""
    session = twice(*SOCKETRY, "serve")
    path = f"/{secrets.token_hex(4)}"
    answers = client(*SOCKETRY, "ask", f"ws://{POD4}:{PORT}{path}", who).lines
    assert answers == [f"{word} 5", f"{word} 1000000", f"{word} 0", "closed 4001"]
    if word == "local":
        session.wait("^closed 4001$")
    assert (f"opened {path}" in session.lines) is (word == "local")
    session.stop()


@WHO
def test_server_sent_events(twice: Twice, client: Callable[..., Outcome], who: str, word: str) -> None:
    """Each comes before the next is asked for."""
    session = twice(*command("streaming"))
    lines = client(*command("events"), POD4, str(PORT), who).lines
    assert lines == [*(f"data: {word} {number}" for number in (1, 2, 3)), "end"]
    session.stop()


def test_calls_with_trailers(twice: Twice, client: Callable[..., Outcome]) -> None:
    """As gRPC makes them: streams both ways at once, on one connection that is shared."""
    session = twice(*command("calls-http2"), "serve")
    words = {"me": "local", "you": "original"}
    asked = ["me", "you", "me"]
    lines = client(*command("calls-http2"), "ask", URL, *asked).lines
    talks = [[f"{words[who]} {who}{number}" for number in range(3)] for who in asked]
    assert lines[:3] == [
        ", ".join([*talk, f"0 {words[who]}"]) for who, talk in zip(asked, talks, strict=True)
    ]
    assert lines[3:] == [f"12 {words[who]} true" for who in asked]
    session.stop()


@pytest.mark.soak
@WHO
def test_large_bodies_are_not_kept(
    twice: Twice,
    client: Callable[..., Outcome],
    sandbox: Sandbox,
    who: str,
    word: str,
    tmp_path: Path,
    record_property: Record,
) -> None:
    """In neither direction, and every byte arrives."""
    session = twice(*command("streaming"))
    upload = tmp_path / "upload"
    with upload.open("wb") as stream:
        stream.truncate(BODY)
    with upload.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    curl = [tool("curl"), "-sS", "--fail", "-H", f"x-user: {who}"]
    before = memory(sandbox)

    assert client(*curl, "-T", str(upload), f"{URL}/sum").lines == [f"{word} {digest}"]
    sizes = client(*curl, "-o", "/dev/null", "-w", "%{size_download}\n", f"{URL}/source?{BODY}").lines
    assert sizes == [str(BODY)]

    record_property("MiB each way", BODY >> 20)
    assert growth(sandbox, before, record_property) < ROOM
    session.stop()


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["continuations", "bombs", "head", "chunks"])
def test_attacks_take_no_memory_and_reach_nobody(
    serve: Serve,
    kept: Callable[..., Callable[[str], str]],
    client: Callable[..., Outcome],
    sandbox: Sandbox,
    configured: Configured,
    kind: str,
    record_property: Record,
) -> None:
    session = serve(*command("serve-node"), options=configured(MINE))
    session.wait(stolen(sandbox))
    send = kept()
    assert send("/?before X-User:me") == "200 same local"
    before = memory(sandbox)

    assert client(*command("attacks"), kind, POD4, "8080").lines == ["ended"]

    assert growth(sandbox, before, record_property) < ROOM
    assert send("/?after X-User:me") == "200 same local"
    assert json.loads(send("/ X-User:you").split(" ", 2)[2])["server"] == sandbox.hostname
    asked = [line.split(" ", 2)[2] for line in session.lines]
    assert asked == ["GET /?before 0", "GET /?after 0"]
    session.stop()


@pytest.mark.soak
def test_slow_clients_hold_nobody(
    serve: Serve,
    kept: Callable[..., Callable[[str], str]],
    runner: Runner,
    sandbox: Sandbox,
    configured: Configured,
    record_property: Record,
) -> None:
    """They are answered in the end, by whom depends on how long they took."""
    session = serve(*command("serve-node"), options=configured(MINE))
    session.wait(stolen(sandbox))
    send = kept()
    line = sandbox.command("run", *command("attacks"), "slowly", POD4, "8080")
    with runner.start(line) as slow:
        assert read_line(slow) == "begun"
        before = memory(sandbox)
        assert send("/?meanwhile X-User:me") == "200 same local"
        for _ in range(10):
            write(slow, "more\n")
            assert read_line(slow) == "more"
            assert send("/?meanwhile X-User:me") == "200 same local"
        write(slow, "end\n")
        answers = [read_line(slow) for _ in range(200)]
        assert all(answer == "local" or sandbox.hostname in answer for answer in answers)
        assert growth(sandbox, before, record_property) < ROOM
    session.stop()
