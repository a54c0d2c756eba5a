"""Watching with the kernel's inotify; what cannot be watched, and what is told."""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from mirrord_agent import linux, watches
from mirrord_agent.watches import FULL, OUTLINE, Watches
from mirrord_agent.wire.messages import Changed

from .running import until

Story = Callable[[Watches, list[Changed], int], Coroutine[object, object, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    """Run a story with watches and an open directory."""

    def run(story: Story) -> None:
        async def main() -> None:
            told: list[Changed] = []
            directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
            one = Watches()
            one.start(told.append)
            try:
                await story(one, told, directory)
            finally:
                one.close()
                os.close(directory)

        asyncio.run(main())

    return run


def refusing(number: int) -> Callable[..., int]:
    """Return a call that fails."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


def test_what_happens_is_told_once_for_each_name(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(one: Watches, told: list[Changed], directory: int) -> None:
        number = one.add(directory, FULL)
        assert number is not None
        for _ in range(3):
            (tmp_path / "a").write_text("x")
        (tmp_path / "b").touch()
        await until(lambda: len(told) >= 2)
        assert told == [Changed(watch=number, name=name, names=True) for name in (b"a", b"b")]
        assert one.add(directory, FULL) == number
        (tmp_path / "a").write_text("y")
        await until(lambda: len(told) >= 3)
        assert told[2] == Changed(watch=number, name=b"a", names=False)

    play(story)


def test_an_outline_has_names_only(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(one: Watches, told: list[Changed], directory: int) -> None:
        (tmp_path / "a").touch()
        number = one.add(directory, OUTLINE)
        assert number is not None
        (tmp_path / "a").write_text("x")
        (tmp_path / "a").rename(tmp_path / "b")
        await until(lambda: len(told) >= 2)
        assert told == [Changed(watch=number, name=name, names=True) for name in (b"a", b"b")]

    play(story)


def test_what_is_dropped_tells_nothing(play: Callable[[Story], None], tmp_path: Path) -> None:
    async def story(one: Watches, told: list[Changed], directory: int) -> None:
        (tmp_path / "other").mkdir()
        other = os.open(tmp_path / "other", os.O_RDONLY)
        dropped, kept = one.add(directory, FULL), one.add(other, FULL)
        os.close(other)
        assert dropped is not None
        assert kept is not None
        one.drop([dropped, dropped, 999])
        (tmp_path / "a").touch()
        (tmp_path / "other" / "b").touch()
        await until(lambda: any(change.watch == kept for change in told))
        assert {change.name for change in told} <= {b"b", None}

    play(story)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM])
def test_that_there_are_too_many_is_known(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def story(one: Watches, told: list[Changed], directory: int) -> None:
        assert one.add(directory, FULL) is not None
        assert not one.exhausted
        with monkeypatch.context() as patched:
            patched.setattr(linux, "inotify_add_watch", refusing(number))
            assert one.add(directory, FULL) is None
        assert one.exhausted

    play(story)


def test_another_failure_is_no_shortage(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(one: Watches, told: list[Changed], directory: int) -> None:
        monkeypatch.setattr(linux, "inotify_add_watch", refusing(errno.EACCES))
        assert one.add(directory, FULL) is None
        assert not one.exhausted

    play(story)


def test_without_an_instance_nothing_is_watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def story() -> None:
        monkeypatch.setattr(linux, "inotify_init", refusing(errno.EMFILE))
        one = Watches()
        one.start(lambda change: None)
        assert one.exhausted
        directory = os.open(tmp_path, os.O_RDONLY)
        assert one.add(directory, FULL) is None
        one.drop([1])
        one.close()
        os.close(directory)

    asyncio.run(story())


def test_what_other_machines_change_is_not_watched(
    play: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(one: Watches, told: list[Changed], directory: int) -> None:
        monkeypatch.setattr(watches, "is_of_this_machine", lambda fd: False)
        assert one.add(directory, FULL) is None
        assert not one.exhausted

    play(story)
    proc = os.open("/proc", os.O_RDONLY)
    monkeypatch.undo()
    assert not watches.is_of_this_machine(proc)
    os.close(proc)


def test_events_that_were_lost_concern_everything(play: Callable[[Story], None]) -> None:
    async def story(one: Watches, told: list[Changed], directory: int) -> None:
        one._take(-1, watches._OVERFLOW, None, told.append)
        assert told == [Changed(watch=-1)]

    play(story)
