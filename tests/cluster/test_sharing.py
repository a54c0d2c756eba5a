"""Several people work on one deployment at once."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..support.build import SYSTEM_PYTHON
from ..support.serving import Serving, serving
from .test_incoming import SERVER
from .test_replicas import Fleet, fleet

__all__ = ["fleet"]
PEOPLE = ("anna", "berta")
Steal = Callable[..., Serving]


@pytest.fixture
def steal(fleet: Fleet, tmp_path: Path) -> Iterator[Steal]:
    """Start sessions that steal from the deployment, whose programs answer with their user's name."""
    session = fleet.session
    with ExitStack() as stack:

        def start(name: str, *, filtered: bool) -> Serving:
            incoming: dict[str, object] = {"mode": "steal"}
            if filtered:
                incoming["http_filter"] = {"header_filter": f"^x-user: {name}$"}
            file = tmp_path / f"{name}.json"
            file.write_text(json.dumps({"feature": {"network": {"incoming": incoming}}}))
            program = (SYSTEM_PYTHON, "-c", SERVER, name)
            line = session.line(f"deployment/{fleet.name}", *program, options=["-f", str(file)])
            return stack.enter_context(serving(session.runner, line, env=session.environment()))

        yield start


def wait_for_each_pod(fleet: Fleet, one: Serving, done: str) -> None:
    """Wait until a session has said this of the port of every pod."""
    for pod in fleet.pods():
        one.wait(f"port 8080 of {pod} is {done}")


def test_each_gets_their_own_requests_and_the_pods_the_others(fleet: Fleet, steal: Steal) -> None:
    sessions = {}
    for name in PEOPLE:
        # one after another, as they have one machine: the second listens on another port of it
        sessions[name] = steal(name, filtered=True)
        wait_for_each_pod(fleet, sessions[name], "stolen")
    paths = {}
    for name in (*PEOPLE, "nobody"):
        paths[name] = f"/{secrets.token_hex(4)}"
        for pod in fleet.pods():
            (answer,) = fleet.answers(fleet.url(pod), paths[name], headers={"X-User": name})["answers"]
            assert answer == (name if name in PEOPLE else f"{pod} \n")
    for name, one in sessions.items():
        one.wait(f"^{paths[name]}/0$", count=3)
        one.stop()
        assert not any(path in line for path in paths.values() if path != paths[name] for line in one.lines)


def test_all_connections_are_one_persons_at_a_time(fleet: Fleet, steal: Steal) -> None:
    whole = steal("whole", filtered=False)
    wait_for_each_pod(fleet, whole, "stolen")
    refused = steal("refused", filtered=False)
    wait_for_each_pod(fleet, refused, "not stolen: another session steals all connections to it; wait until ")
    filtered = steal("filtered", filtered=True)
    wait_for_each_pod(fleet, filtered, "stolen")
    pod = secrets.choice(fleet.pods())
    for name, answer in (("filtered", "filtered"), ("nobody", "whole")):
        assert list(fleet.answers(fleet.url(pod), "/", headers={"X-User": name})["answers"]) == [answer]
    for one in (filtered, refused, whole):
        one.stop()
