"""The door of a process that a session holds without a keeper."""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mirrord.errors import AttachError
from mirrord.session import doors
from mirrord.session.own_door import OwnDoor

PID = 4711


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def connected() -> socket.socket:
    found = doors.connect(PID)
    assert found is not None
    found.setblocking(False)
    return found


async def heard(visitor: socket.socket) -> list[str | int | float]:
    data = await asyncio.get_running_loop().sock_recv(visitor, 4096)
    return json.loads(data) if data else []


def run(visit: Callable[[OwnDoor, list[str]], Awaitable[None]]) -> None:
    async def scene() -> None:
        ends: list[str] = []
        await visit(OwnDoor(PID, lambda: ends.append("end")), ends)

    asyncio.run(scene())


def test_who_detaches_ends_the_session_and_is_told_when_it_has_ended(runtime: Path) -> None:
    async def visit(door: OwnDoor, ends: list[str]) -> None:
        with connected() as visitor:
            doors.send(visitor, doors.DETACH)
            while not ends:
                await asyncio.sleep(0)
            door.close()
            assert await heard(visitor) == [doors.DETACHED]
            assert await heard(visitor) == []
        assert ends == ["end"]
        assert doors.connect(PID) is None
        assert not (runtime / "mirrord").exists()

    run(visit)


def test_another_session_is_told_who_has_the_process() -> None:
    async def visit(door: OwnDoor, ends: list[str]) -> None:
        with connected() as visitor:
            doors.send(visitor, doors.SERVE, "id", "/nowhere")
            assert await heard(visitor) == [doors.HELD, os.getpid()]
        assert ends == []
        door.close()

    run(visit)


def test_who_only_looks_in_changes_nothing() -> None:
    async def visit(door: OwnDoor, ends: list[str]) -> None:
        assert doors.is_open(PID)
        with connected() as visitor:
            doors.send(visitor, doors.DETACH)
            while not ends:
                await asyncio.sleep(0)
        while door._waiting:
            await asyncio.sleep(0)
        door.close()

    run(visit)


def test_there_is_one_door() -> None:
    async def visit(door: OwnDoor, ends: list[str]) -> None:
        with pytest.raises(AttachError, match="being attached to by another"):
            OwnDoor(PID, lambda: None)
        door.close()

    run(visit)
