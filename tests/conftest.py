"""Users, sandboxes and runners for the tests that run the whole command."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from .support import user as users
from .support.attaching import Attaching
from .support.build import ROOT, SYSTEM_PYTHON
from .support.relay import Relay, relay
from .support.running import Outcome, Runner, end_input, read_line
from .support.sandboxes import Sandbox
from .support.tree import tree as tree
from .support.user import User

SOAK: Final = os.environ.get("MIRRORD_SOAK") == "1"
EVERYTHING: Final = SOAK or os.environ.get("MIRRORD_ENGINES") == "both"
"""Whether every test is run with both engines, and not a sample of them."""


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marks of these tests mean."""
    config.addinivalue_line("markers", "both_users: run as root and as an ordinary user, where possible")
    config.addinivalue_line("markers", "both_engines: run with both engines, not in the soak alone")
    config.addinivalue_line("markers", "sample(pattern): the traced ones that are enough outside the soak")
    config.addinivalue_line("markers", "notify_only(reason): why the ptrace engine cannot do it")
    # a shell without job control starts what is in the background with these ignored, which programs inherit
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Say how tests are handed to the processes that ``-n`` asks for."""
    from .support.together import Scheduler

    return Scheduler(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked so as both users, all others as the one that runs the tests."""
    if "user" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both_users") is not None
        metafunc.parametrize("user", ["current", "ordinary"] if both else ["current"], indirect=True)
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", _engines(metafunc.definition))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the soak runs."""
    if not EVERYTHING:
        left_out = [item for item in items if not _is_enough(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _is_enough(item)]


def _is_enough(test: pytest.Item) -> bool:
    sample = test.get_closest_marker("sample")
    parameters = getattr(test, "callspec", None)
    if sample is None or parameters is None or parameters.params.get("engine") == "notify":
        return True
    return re.search(sample.args[0], parameters.id) is not None


def _engines(test: pytest.Item) -> list[object]:
    """Return the engines to run a test with: both for the marked ones, and for all if asked."""
    refused = test.get_closest_marker("notify_only")
    ptrace = pytest.param("ptrace", marks=[pytest.mark.skip(reason=refused.args[0])] if refused else [])
    both = EVERYTHING or test.get_closest_marker("both_engines") is not None
    return [pytest.param("notify"), *([ptrace] if both else [])]


@pytest.fixture(scope="session")
def everybody() -> Iterator[Callable[[str], User]]:
    """Return a user by name, each made when first asked for."""
    made: dict[str, User] = {}
    # not in pytest's own directory: it lets nobody else in
    with tempfile.TemporaryDirectory(prefix="users-") as base:
        Path(base).chmod(0o755)

        def get(name: str) -> User:
            if name not in made:
                home = Path(base, name)
                home.mkdir(exist_ok=True)
                made[name] = (users.ordinary if name == "ordinary" else users.current)(home)
            return made[name]

        yield get


@pytest.fixture
def user(request: pytest.FixtureRequest, everybody: Callable[[str], User]) -> User:
    """Who runs the command in this test."""
    return everybody(request.param)


@pytest.fixture(scope="session")
def sandboxes() -> Iterator[Callable[[User], Sandbox]]:
    """Return the sandbox of a user, made when first asked for."""
    made: dict[str, Sandbox] = {}
    with contextlib.ExitStack() as stack:

        def get(user: User) -> Sandbox:
            if user.name not in made:
                made[user.name] = stack.enter_context(Sandbox(Runner(user)).up())
            return made[user.name]

        yield get


@pytest.fixture
def sandbox(user: User, sandboxes: Callable[[User], Sandbox]) -> Sandbox:
    """A sandbox with random values that is up."""
    return sandboxes(user)


@pytest.fixture
def runner(user: User) -> Runner:
    """Run commands as the user, in processes that are known to be this test's."""
    return Runner(user)


class Peer:
    """The far end of a connection: tests/support/peer.py, running beside the pod."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = self.read()

    def read(self) -> str:
        """Return the next line that it prints."""
        return read_line(self._process)

    def release(self) -> None:
        """End its standard input, which it may be waiting for."""
        end_input(self._process)


@pytest.fixture
def peer(runner: Runner, sandbox: Sandbox) -> Iterator[Callable[..., Peer]]:
    """Start a peer that behaves in one of the ways of tests/support/peer.py."""
    with contextlib.ExitStack() as stack:

        def start(*way: str) -> Peer:
            line = sandbox.command("run", SYSTEM_PYTHON, str(ROOT / "tests" / "support" / "peer.py"), *way)
            return Peer(stack.enter_context(runner.start(line)))

        yield start


@pytest.fixture
def slow() -> Iterator[Callable[..., Relay]]:
    """Put a relay on the link: slow, narrow, or to be stalled and cut."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory(prefix="relay-") as folder:
        Path(folder).chmod(0o755)

        def start(**quality: Any) -> Relay:
            return stack.enter_context(relay(Path(folder, "link"), **quality))

        yield start


class Mirrord(Protocol):
    """Runs a program by ``mirrord exec`` in the sandbox."""

    def __call__(
        self,
        *argv: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60,
    ) -> Outcome:
        """Run it to its end."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """Makes the command lines of sessions in the sandbox."""

    user: User
    sandbox: Sandbox
    engine: str

    def __call__(self, *argv: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command line for a program."""
        return self.of("exec", *argv, options=options)

    def of(self, verb: str, *argv: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command line for a program that another command than ``exec`` runs."""
        fixed = ["-t", self.sandbox.target, "--engine", self.engine]
        return [self.user.mirrord, verb, *fixed, *options, "--", *argv]


@pytest.fixture
def line(user: User, sandbox: Sandbox, engine: str) -> Line:
    """Make command lines, for tests that start the command themselves."""
    return Line(user, sandbox, engine)


@pytest.fixture
def mirrord(runner: Runner, line: Line) -> Mirrord:
    """Run programs in sessions."""

    def run(
        *argv: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60,
    ) -> Outcome:
        return runner.run(line(*argv, options=options), env=env, input=input, timeout=timeout)

    return run


@pytest.fixture
def attaching(user: User, runner: Runner, sandbox: Sandbox, engine: str) -> Attaching:
    """Attach to programs of this test."""
    return Attaching(user, runner, sandbox, engine)


@pytest.fixture
def in_pod(runner: Runner, sandbox: Sandbox) -> Callable[..., Outcome]:
    """Run programs in the pod itself."""

    def run(*argv: str, env: Mapping[str, str] | None = None) -> Outcome:
        return runner.run(sandbox.command("exec", *argv), env=env)

    return run
