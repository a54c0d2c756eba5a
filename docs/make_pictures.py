"""Draw docs/dashboard.svg and docs/why.svg: the dashboard of a real session in the sandbox.

Run as ``python docs/make_pictures.py``.
"""

import os
import pty
import select
import subprocess
import time
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType

from mirrord.dashboard.board import Board
from mirrord.dashboard.choice import Choice, Mode
from mirrord.dashboard.output import Output
from mirrord.dashboard.view import View
from mirrord.errors import MirrordError
from mirrord.feed.frames import Kind
from mirrord.feed.models import Note, SessionInfo, State
from mirrord.trace.client import Client
from mirrord.trace.events import Call
from mirrord.trace.sessions import find

DOCS: Final = Path(__file__).resolve().parent
_MIRRORD: Final = str(DOCS.parent / ".venv" / "bin" / "mirrord")
_PROGRAM: Final = """\
import http.client, os, socket, time
kept = socket.create_connection(("echo", 7))
for turn in range(1000):
    web = http.client.HTTPConnection("web")
    web.request("GET", f"/?turn={turn}")
    answer = web.getresponse()
    kept.sendall(answer.read())
    print("turn", turn, answer.status, len(kept.recv(65536)), "bytes echoed", flush=True)
    print("  ", open("/app/config.yaml").readline().strip(), sorted(os.listdir("/app/data"))[:2])
    for host, port in (("echo", 9), ("nowhere", 80)):
        try:
            socket.create_connection((host, port))
        except OSError as error:
            print("  ", host, error)
    time.sleep(0.1)
"""
_SECONDS: Final = 12.0
_SIZE: Final = (150, 44)
_SMALL: Final = (100, 24)


def main() -> None:
    """Run a session, look at it for a while, and draw it."""
    master, slave = pty.openpty()
    line = [_MIRRORD, "exec", "-q", "-t", "sandbox", "--", "python3", "-c", _PROGRAM]
    # nothing of this machine is to be seen: the system's python3, from no directory of the user's
    environment = os.environ | {"PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        line, stdin=slave, stdout=slave, stderr=slave, process_group=0, env=environment, cwd="/"
    ) as session:
        os.close(slave)
        board, output = Board(), Output(master, columns=96, lines=11)
        watch(first_client(), board, output, master)
        choice = Choice(only_remote=True)
        view = View(board, choice, output)
        # while the program lives: of one that has ended only a number is shown
        picture("dashboard.svg", view.draw(*_SIZE), _SIZE)
        session.terminate()
    choice.chosen = next(call for call in board.calls if _opens(call, "config.yaml"))
    choice.mode = Mode.DETAILS
    picture("why.svg", view.draw(*_SMALL), _SMALL)


def _opens(call: Call, name: str) -> bool:
    return call.name == "openat" and any(name in argument for argument in call.arguments)


def first_client() -> Client:
    """Return a connection to the session once it is there."""
    while True:
        try:
            _, client = find(None)
        except MirrordError:
            # it has only just begun
            time.sleep(0.05)
        else:
            client.ask(Kind.WATCH)
            return client


def watch(client: Client, board: Board, output: Output, master: int) -> None:
    """Take what is told for some seconds."""
    began = ticked = time.monotonic()
    while time.monotonic() - began < _SECONDS:
        select.select([client.socket, master], [], [], 0.1)
        for kind, payload in client.frames(0):
            _take(board, kind, payload)
        if select.select([master], [], [], 0)[0]:
            output.feed(os.read(master, 65536))
        if time.monotonic() - ticked >= 1:
            ticked += 1
            board.tick()
    output.settle()


def _take(board: Board, kind: Kind, payload: bytes) -> None:
    match kind:
        case Kind.INFO:
            board.begin(SessionInfo.model_validate_json(payload))
        case Kind.RECORDS:
            board.take(payload)
        case Kind.STATE:
            board.state(State.model_validate_json(payload))
        case Kind.NOTE:
            board.note(Note.model_validate_json(payload))


def picture(name: str, drawn: RenderableType, size: tuple[int, int]) -> None:
    """Write what is drawn."""
    width, height = size
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=width, height=height, file=nowhere, color_system="truecolor")
        console.print(drawn, height=height)
    console.save_svg(str(DOCS / name), title="mirrord trace")


if __name__ == "__main__":
    main()
