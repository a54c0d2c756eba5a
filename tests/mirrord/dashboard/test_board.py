import pytest

from mirrord.dashboard import board as module
from mirrord.dashboard.board import Board
from mirrord.feed.models import Connection, Note, State


def _connection(number: int) -> Connection:
    return Connection(
        id=number, protocol="udp", remote="10.0.0.1:53", local="", program="0.0.0.0:5", state="connected"
    )


def test_of_connections_that_have_ended_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_GONE", 2)
    board = Board()
    kept = _connection(0)
    for number in range(1, 6):
        board.state(State(connections=(kept, _connection(number)), link=None))
    board.state(State(connections=(kept,), link=None))
    assert [(key[0], flow.open) for key, flow in board.flows.items()] == [(0, True), (4, False), (5, False)]


def test_of_files_the_latest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_FILES", 2)
    board = Board()
    for path in ("/a", "/b", "/b", "/c"):
        board.note(Note(time=0, kind="file", text=path, size=1))
    assert {path: file.opened for path, file in board.files.items()} == {"/b": 2, "/c": 1}
