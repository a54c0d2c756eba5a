import asyncio
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mirrord.feed.frames import Decoder, Kind, encode
from mirrord.feed.models import Dropped, Note, Rules, SessionInfo, State
from mirrord.feed.traffic import Piece
from mirrord.session.directory import within_reach
from mirrord.session.feed import Feed, Session

INFO = SessionInfo(
    id="abc",
    front=1,
    supervisor=2,
    program=("true",),
    pid=3,
    target=None,
    remote=(),
    started=0.0,
    clock=0,
    user=0,
    rules=Rules(
        fs="{}",
        network="{}",
        aws=False,
        cwd="/",
        home=None,
        tmpdir="/tmp",
        executable="/",
        code=(),
        search=(),
    ),
)


class Stage:
    """A session that has only a feed."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.dropped = 0
        self.watched: list[bool] = []
        self.tapped: list[bool] = []
        self.stopped = 0

    def take(self) -> list[bytes]:
        taken, self.records = self.records, []
        return taken

    def feed(self) -> Feed:
        session = Session(
            info=lambda: INFO,
            state=lambda: State(connections=(), link=None),
            watched=self.watched.append,
            tapped=self.tapped.append,
            stop=self.stop,
            records=self,
        )
        return Feed(asyncio.get_running_loop(), session)

    def stop(self) -> None:
        self.stopped += 1


class Reader:
    """The other end."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.frames: list[tuple[Kind, bytes]] = []
        self._decoder = Decoder()

    async def until(self, condition: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while not condition():
                data = await loop.sock_recv(self.socket, 1 << 16)
                assert data
                self.frames += self._decoder.take(data)

    def size(self, kind: Kind) -> int:
        return sum(len(payload) for one, payload in self.frames if one is kind)

    def payload(self, kind: Kind) -> bytes:
        return b"".join(payload for one, payload in self.frames if one is kind)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def pair() -> tuple[Reader, socket.socket]:
    ours, theirs = socket.socketpair()
    return Reader(ours), theirs


async def _everything(stage: Stage) -> None:
    feed = stage.feed()
    reader, theirs = pair()
    feed.adopt(theirs)
    assert stage.watched == [True]
    stage.records = [b"one", b"two"]
    feed.note(Note(time=1, kind="file", text="/a"))
    await reader.until(lambda: reader.payload(Kind.RECORDS) == b"onetwo")
    assert reader.frames[0] == (Kind.INFO, INFO.model_dump_json().encode())
    stage.dropped = 5
    await reader.until(lambda: bool(reader.payload(Kind.DROPPED)))
    assert Dropped.model_validate_json(reader.payload(Kind.DROPPED)).count == 5
    stage.records = [b"last"]
    await asyncio.gather(feed.close(7), reader.until(lambda: bool(reader.payload(Kind.ENDED))))
    assert reader.payload(Kind.RECORDS) == b"onetwolast"
    assert b"/a" in reader.payload(Kind.NOTE)
    reader.socket.close()


def test_one_that_watches_from_the_beginning_is_told_everything(stage: Stage) -> None:
    asyncio.run(_everything(stage))


async def _listen(stage: Stage, folder: Path) -> None:
    feed = stage.feed()
    feed.listen(str(folder))
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sock = socket.socket(socket.AF_UNIX)
    with within_reach(str(path)) as name:
        sock.connect(name)
    reader = Reader(sock)
    await reader.until(lambda: bool(reader.frames))
    assert stage.watched == []
    sock.send(encode(Kind.STOP) + encode(Kind.WATCH))
    await reader.until(lambda: bool(reader.payload(Kind.STATE)))
    assert (stage.stopped, stage.watched) == (1, [True])
    sock.close()
    async with asyncio.timeout(10):
        while stage.watched != [True, False]:
            await asyncio.sleep(0)
    await feed.close(None)


def test_who_comes_later_asks(stage: Stage, tmp_path: Path) -> None:
    asyncio.run(_listen(stage, tmp_path))


def test_its_directory_may_have_a_long_name(stage: Stage, tmp_path: Path) -> None:
    """Longer than what a unix socket's address has room for."""
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    asyncio.run(_listen(stage, directory))


def _piece(data: bytes) -> Piece:
    local, remote = ("10.0.0.1", 1), ("10.0.0.2", 2)
    return Piece(
        time=0, flow=1, offset=0, local=local, remote=remote, udp=True, incoming=False, sent=True, data=data
    )


async def _tapped(stage: Stage) -> None:
    feed = stage.feed()
    reader, theirs = pair()
    # before there is a session: nothing must be missed
    reader.socket.send(encode(Kind.TAP))
    feed.adopt(theirs)
    other, its = pair()
    feed.adopt(its)
    assert stage.tapped == [True]
    feed.traffic(_piece(b"word"))
    await reader.until(lambda: bool(reader.payload(Kind.TRAFFIC)))
    assert Piece.unpack(reader.payload(Kind.TRAFFIC)).data == b"word"
    for _ in range(100):
        feed.traffic(_piece(bytes(512 * 1024)))
    await reader.until(lambda: reader.size(Kind.TRAFFIC) >= 30 * 1024 * 1024)
    feed.traffic(_piece(b"last"))
    await reader.until(lambda: reader.frames[-1][1].endswith(b"last"))
    lost = Dropped.model_validate_json(reader.payload(Kind.DROPPED)).traffic
    packed = len(_piece(b"").pack())
    assert lost + reader.size(Kind.TRAFFIC) == 100 * (512 * 1024 + packed) + 2 * (4 + packed)
    reader.socket.close()
    async with asyncio.timeout(10):
        while stage.tapped != [True, False]:
            await asyncio.sleep(0)
    await asyncio.gather(feed.close(0), other.until(lambda: bool(other.payload(Kind.ENDED))))
    assert other.size(Kind.TRAFFIC) == 0
    other.socket.close()


def test_only_who_asks_is_told_of_traffic(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mirrord.session.feed._MOST_TRAFFIC", 32 * 1024 * 1024)
    asyncio.run(_tapped(stage))


async def _slow(stage: Stage) -> None:
    feed = stage.feed()
    reader, theirs = pair()
    feed.adopt(theirs)
    big = os.urandom(512 * 1024)
    for _ in range(100):
        stage.records = [big]
        feed._flush()
    # it reads nothing meanwhile: what there was no room for is counted once there is room again
    await reader.until(lambda: reader.size(Kind.RECORDS) >= 60 * len(big))
    stage.records = [b"after"]
    await reader.until(lambda: reader.frames[-1][1] == b"after")
    told = reader.size(Kind.RECORDS) // len(big)
    assert Dropped.model_validate_json(reader.payload(Kind.DROPPED)).count == 100 - told
    assert 60 <= told < 100
    reader.socket.close()
    await feed.close(0)


def test_a_slow_one_is_not_waited_for(stage: Stage) -> None:
    asyncio.run(_slow(stage))


async def _ticks(stage: Stage, *asked: Kind) -> float:
    """Return after how many seconds the next records are sent."""
    feed = stage.feed()
    readers = []
    for kind in asked:
        reader, theirs = pair()
        reader.socket.send(encode(kind))
        feed.adopt(theirs)
        readers.append(reader)
    feed._tick()
    assert feed._timer is not None
    wait = feed._timer.when() - asyncio.get_running_loop().time()
    await feed.close(0)
    for reader in readers:
        reader.socket.close()
    return wait


@pytest.mark.parametrize(
    ("asked", "seldom"),
    [((Kind.SELDOM,), True), ((Kind.SELDOM, Kind.TAP), False), ((Kind.WATCH,), False)],
)
def test_who_draws_is_told_seldom_unless_somebody_else_watches(
    stage: Stage, asked: tuple[Kind, ...], seldom: bool
) -> None:
    assert (asyncio.run(_ticks(stage, *asked)) > 0.1) == seldom


async def _nonsense(stage: Stage) -> None:
    feed = stage.feed()
    reader, theirs = pair()
    feed.adopt(theirs)
    reader.socket.send(b"this is no frame")
    async with asyncio.timeout(10):
        while stage.watched != [True, False]:
            await asyncio.sleep(0)
    reader.socket.close()
    await feed.close(0)


def test_one_that_talks_nonsense_is_let_go(stage: Stage) -> None:
    asyncio.run(_nonsense(stage))
