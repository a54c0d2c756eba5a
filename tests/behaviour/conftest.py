"""What these tests share: servers in sessions, their clients, and configurations."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from ..conftest import Line
from ..support.build import command
from ..support.leaks import Ground
from ..support.needs import tool
from ..support.running import Outcome, Runner, end_input, read_line, write
from ..support.sandboxes import Sandbox
from ..support.servers import WEB
from ..support.serving import Serving, serving


@pytest.fixture(autouse=True)
def clean(runner: Runner, sandbox: Sandbox) -> Iterator[None]:
    """Check that processes, sockets, namespaces and files of the test's sessions are gone."""
    mark = sandbox.runner.mark
    ground = Ground.before(runner.user, mark=runner.mark, sandbox=mark, processes=sandbox.processes())
    yield
    ground.check_clean()


class Serve(Protocol):
    """Starts a server in a session."""

    def __call__(
        self, *argv: str, options: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> Serving:
        """Return it once it has begun."""
        ...


@pytest.fixture
def serve(runner: Runner, line: Line) -> Iterator[Serve]:
    """Run servers in sessions, each until the end of the test."""
    with ExitStack() as stack:

        def start(*argv: str, options: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Serving:
            return stack.enter_context(serving(runner, line(*argv, options=options), env=env))

        yield start


class Ask(Protocol):
    """Sends requests as a client of the cluster."""

    def __call__(self, path: str, *curl: str, host: str = WEB) -> dict[str, object]:
        """Send one, and return what the pod's own server answers."""
        ...


@pytest.fixture
def ask(sandbox: Sandbox, client: Callable[..., Outcome]) -> Ask:
    """Send requests that the pod's own server must answer as ever."""

    def send(path: str, *curl: str, host: str = WEB) -> dict[str, object]:
        url = f"http://{f'[{host}]' if ':' in host else host}:8080/{path}"
        answer: dict[str, object] = json.loads(client(tool("curl"), "-sS", *curl, url).out)
        assert answer["server"] == sandbox.hostname
        return answer

    return send


@pytest.fixture
def client(runner: Runner, sandbox: Sandbox) -> Callable[..., Outcome]:
    """Run a command beside the pod."""
    return lambda *argv: runner.run(sandbox.command("run", *argv))


class Configured(Protocol):
    """Writes configurations."""

    def __call__(self, incoming: Mapping[str, object] | str, **others: object) -> list[str]:
        """Return the options that name one."""
        ...


@pytest.fixture
def configured() -> Iterator[Configured]:
    """Write configurations that every user can read."""
    with ExitStack() as stack:

        def write(incoming: Mapping[str, object] | str, **others: object) -> list[str]:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="config-"))
            Path(folder).chmod(0o755)
            path = Path(folder, "mirrord.json")
            path.write_text(json.dumps({"feature": {"network": {"incoming": incoming}}, **others}))
            return ["-f", str(path)]

        yield write


@pytest.fixture
def kept(runner: Runner, sandbox: Sandbox) -> Iterator[Callable[..., Callable[[str], str]]]:
    """Keep connections to the pod, each with a function that sends a request and returns what answers."""
    with ExitStack() as stack:

        def connect(host: str = WEB, port: int = 8080) -> Callable[[str], str]:
            line = sandbox.command("run", *command("kept"), host, str(port))
            process = stack.enter_context(runner.start(line))
            stack.callback(end_input, process)
            assert read_line(process) == "connected"

            def send(request: str) -> str:
                write(process, f"{request}\n")
                return read_line(process)

            return send

        yield connect


_ENTER_NETWORK = """
import os, sys
from mirrord.targets.sandbox import linux
user, net = (os.open(f"/proc/{sys.argv[1]}/ns/{kind}", os.O_RDONLY) for kind in ("user", "net"))
linux.setns(user, linux.CLONE_NEWUSER)
linux.setns(net, linux.CLONE_NEWNET)
linux.keep_capabilities()
os.execv(sys.argv[2], sys.argv[2:])
"""
"""nsenter(1) cannot leave an ordinary user the capabilities that it has in a user namespace of its own."""


@pytest.fixture
def rules(sandbox: Sandbox) -> Callable[[], str]:
    """Return the rules in the pod's network namespace, as ``nft`` prints them."""

    def read() -> str:
        pid = sandbox.pod()
        enter = [sys.executable, "-c", _ENTER_NETWORK, str(pid)]
        done = subprocess.run([*enter, tool("nft"), "list", "ruleset"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return read


@pytest.fixture
def pods_look(runner: Runner, sandbox: Sandbox) -> str:
    """What a program in the pod sees."""
    line = sandbox.command("exec", *command("attached"), "look")
    ready, seen = runner.run(line, input="l\n").lines
    assert ready == "ready 0"
    assert seen.startswith(sandbox.config)
    return seen
