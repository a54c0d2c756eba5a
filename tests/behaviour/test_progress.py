"""How far the start of a session is, on standard error, in each form."""

import json
import signal
import socket
from pathlib import Path

import pytest

from ..support.running import Outcome, Runner
from ..support.serving import serving
from ..support.user import User

SERVER = "https://127.0.0.1:1"


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """The file of a cluster that is not there."""
    return named(SERVER, tmp_path / "kubeconfig")


def named(server: str, path: Path) -> str:
    """Write the file of a cluster, and return its path."""
    context = {"name": "none", "context": {"cluster": "none", "user": "none"}}
    clusters = [{"name": "none", "cluster": {"server": server}}]
    users = [{"name": "none", "user": {"token": "none"}}]
    path.write_text(
        json.dumps({"current-context": "none", "contexts": [context], "clusters": clusters, "users": users})
    )
    return str(path)


def begin(runner: Runner, user: User, kubeconfig: str, mode: str) -> Outcome:
    """Try to start a session."""
    environment = {"KUBECONFIG": kubeconfig, "MIRRORD_PROGRESS_MODE": mode}
    return runner.run([user.mirrord, "exec", "-t", "pod/web", "--", "true"], env=environment)


@pytest.mark.parametrize(("mode", "steps"), [("std", 1), ("dumb", 1), ("off", 0)])
def test_lines(runner: Runner, user: User, kubeconfig: str, mode: str, steps: int) -> None:
    found = begin(runner, user, kubeconfig, mode)
    assert (found.code, found.out) == (125, "")
    *said, last = found.err.splitlines()
    assert said == ["mirrord: looking for pod/web"] * steps
    assert last.startswith("mirrord: the API server cannot be reached: ")


def test_objects(runner: Runner, user: User, kubeconfig: str) -> None:
    found = begin(runner, user, kubeconfig, "json")
    *said, last = found.err.splitlines()
    whole, step, finished, failed = map(json.loads, said)
    assert whole == {"type": "NewTask", "name": "mirrord exec", "parent": None}
    assert step == {"type": "NewTask", "name": "looking for pod/web", "parent": "mirrord exec"}
    assert (finished["type"], finished["name"], finished["success"]) == (
        "FinishedTask",
        "looking for pod/web",
        False,
    )
    assert failed == {"type": "FinishedTask", "name": "mirrord exec", "success": False, "message": None}
    error = json.loads(last.removeprefix("Error: "))
    assert error["message"].startswith("the API server cannot be reached: ")
    assert error["severity"] == "error"


def test_an_unknown_form(runner: Runner, user: User, kubeconfig: str) -> None:
    found = begin(runner, user, kubeconfig, "loud")
    assert found.code == 2
    assert "`MIRRORD_PROGRESS_MODE` is `loud`; use std, dumb, json or off" in found.err


def test_the_first_line_waits_for_no_answer(runner: Runner, user: User, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        kubeconfig = named(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path / "kubeconfig")
        line = [user.mirrord, "exec", "-t", "pod/web", "--", "true"]
        with serving(runner, line, env={"KUBECONFIG": kubeconfig}) as session:
            session.wait("^mirrord: looking for pod/web$")
            silent.settimeout(20)
            sock, _ = silent.accept()
            with sock:
                assert sock.recv(65_536).startswith(b"GET /api/v1/namespaces/default/pods/web")
                session.stop(signal.SIGINT)
    assert session.said[0] == "mirrord: looking for pod/web"
