import asyncio
from collections.abc import Callable

import pytest

from mirrord.link import progress as module
from mirrord.link.progress import Progress, size_text

from .agent import until


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say everything at the next turns of the loop."""
    for name in ("_PATIENCE", "_FIRST_PROGRESS", "_PROGRESS"):
        monkeypatch.setattr(module, name, 0.0)


def said_of(size: int, done: int) -> list[str]:
    said: list[str] = []

    async def fetch() -> None:
        async with Progress(said.append, b"/srv/big", size) as progress:
            progress.done = done
            await until(lambda: len(said) >= 3)

    asyncio.run(fetch())
    return said


@pytest.mark.parametrize(
    ("size", "done", "how_far"),
    [
        (100 * 2**20, 25 * 2**20, " 25 % of 100 MiB"),
        (5000, 5000, "100 % of 4 KiB"),
        (0, 3 * 2**10, "3 KiB"),
    ],
)
def test_it_is_said_what_is_waited_for_and_then_how_far_it_is(size: int, done: int, how_far: str) -> None:
    first, *others = said_of(size, done)
    assert first.startswith("fetching /srv/big (")
    assert set(others) == {f"/srv/big: {how_far}"}


def test_what_is_done_soon_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 60.0)
    said: list[str] = []

    async def fetch() -> None:
        timers = _timers(asyncio.get_running_loop())
        async with Progress(said.append, b"/srv/small", 5):
            assert len(timers()) == 1
        assert not timers()

    asyncio.run(fetch())
    assert said == []


def _timers(loop: asyncio.AbstractEventLoop) -> Callable[[], list[asyncio.TimerHandle]]:
    scheduled: list[asyncio.TimerHandle] = loop._scheduled  # type: ignore[attr-defined]  # no public view of it
    return lambda: [timer for timer in scheduled if not timer.cancelled()]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1 KiB"), (2**20, "1 MiB"), (5 * 2**40, "5120 GiB")],
)
def test_a_size_is_rounded_down(size: int, text: str) -> None:
    assert size_text(size) == text
