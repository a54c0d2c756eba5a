import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

from ...support.ports import free_port

KEEPER: Final = """
from mirrord.config.options import ExecOptions
from mirrord.session.chain import Chain, Inherited
from mirrord.session.directory import SessionDirectory
from mirrord.session.leftovers import delete
options = ExecOptions(program=("true",), target="pod/x")
chain = Chain(options, SessionDirectory("1", "/nowhere"), 0, Inherited.take())
delete(chain, ["prod/one", "agents/two"])
print("waited")
"""
"""What a keeper does; in a process of its own, as it forks."""


@contextmanager
def api_server(asked: list[str]) -> Iterator[int]:
    """Serve on a port, and note what is to be deleted."""

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def keep(port: int, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a keeper whose cluster is at a port of this machine."""
    config = folder / "config"
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "none"}}
    config.write_text(
        json.dumps({"current-context": "x", "clusters": [cluster], "contexts": [context], "users": [user]})
    )
    line = [sys.executable, "-c", KEEPER]
    return subprocess.run(line, env={"KUBECONFIG": str(config)}, capture_output=True, text=True, check=True)


def test_jobs_are_deleted_and_waited_for(tmp_path: Path) -> None:
    asked: list[str] = []
    with api_server(asked) as port:
        done = keep(port, tmp_path)
    assert sorted(asked) == [
        "/apis/batch/v1/namespaces/agents/jobs/two",
        "/apis/batch/v1/namespaces/prod/jobs/one",
    ]
    assert (done.stdout, done.stderr) == ("waited\n", "")


def test_who_cannot_be_asked_is_told_of(tmp_path: Path) -> None:
    done = keep(free_port(), tmp_path)
    assert done.stdout == "waited\n"
    assert done.stderr.startswith("mirrord: what it had in the cluster goes by itself, as it could not be")
    assert "the API server cannot be reached" in done.stderr
