import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirrord_agent import linux
from mirrord_agent.directories import Directories
from mirrord_agent.files import Files
from mirrord_agent.watches import Watches
from mirrord_agent.wire.messages import PAGE, Changed

from .running import on_loop, until
from .test_files import failing, target_at


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[Directories]:
    target = target_at(tmp_path)
    yield Directories(Files(target), Watches())
    os.close(target.root)


def test_a_directory_is_listed_by_name(directories: Directories, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "c").symlink_to("nowhere")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff \n")).touch()
    listing = directories.listing(b"/", None)
    assert [entry.name for entry in listing.entries] == [b"a", b"b", b"c", b"\xff \n"]
    assert [stat.S_IFMT(entry.attributes.mode) for entry in listing.entries] == [
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFLNK,
        stat.S_IFREG,
    ]
    assert listing.attributes.ino == tmp_path.stat().st_ino
    assert not listing.more
    with failing(errno.ENOTDIR):
        directories.listing(b"/a", None)


def test_a_large_directory_comes_in_pages(directories: Directories, tmp_path: Path) -> None:
    names = sorted(b"%05d" % number for number in range(2 * PAGE + 5))
    for name in names:
        (tmp_path / name.decode()).touch()
    found: list[bytes] = []
    after: bytes | None = None
    sizes = []
    while True:
        listing = directories.listing(b"/", after)
        found += [entry.name for entry in listing.entries]
        sizes.append(len(listing.entries))
        if not listing.more:
            break
        after = found[-1]
    assert (found, sizes) == (names, [PAGE, PAGE, 5])
    # a file that came and one that went while the pages were asked for
    (tmp_path / "00999x").touch()
    (tmp_path / "01000").unlink()
    assert [entry.name for entry in directories.listing(b"/", b"00999").entries][:2] == [b"00999x", b"01001"]


def test_an_entry_tells_what_a_program_asks(directories: Directories, tmp_path: Path) -> None:
    for name in ("one", "many"):
        (tmp_path / name).touch()
    os.link(tmp_path / "many", tmp_path / "other")
    (tmp_path / "link").symlink_to("one")
    os.setxattr(tmp_path / "one", "user.color", b"blue")
    entries = {entry.name: entry for entry in directories.listing(b"/", None).entries}
    assert entries[b"link"].target == b"one"
    assert (entries[b"one"].xattrs, entries[b"many"].xattrs) == (True, False)
    assert (entries[b"one"].steady, entries[b"many"].steady) == (True, False)


def test_what_cannot_be_watched_is_not_listed_for_a_name(directories: Directories, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert directories.listing(b"/", None, only_watched=True).entries == ()
    assert len(directories.listing(b"/", None).entries) == 1


@on_loop
async def test_changes_are_told(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    told: list[Changed] = []
    watches, target = Watches(), target_at(tmp_path)
    watches.start(told.append)
    directories = Directories(Files(target), watches)
    listing = directories.listing(b"/a", None)
    assert listing.watch is not None
    assert len(listing.above) == 1
    (below,) = (entry.watch for entry in listing.entries if entry.name == b"b")
    (tmp_path / "a" / "file").write_text("x")
    await until(lambda: Changed(watch=listing.watch or 0, name=b"file") in told)
    (tmp_path / "a" / "b" / "new").touch()
    await until(lambda: Changed(watch=below or 0, name=b"new", names=True) in told)
    (tmp_path / "a").rename(tmp_path / "c")
    await until(lambda: Changed(watch=listing.above[0], name=b"a", names=True) in told)
    await until(lambda: Changed(watch=listing.watch or 0) in told)
    watches.close()
    os.close(target.root)


@on_loop
async def test_a_name_is_told_once_until_it_is_listed_again(tmp_path: Path) -> None:
    told: list[Changed] = []
    watches, target = Watches(), target_at(tmp_path)
    watches.start(told.append)
    directories = Directories(Files(target), watches)

    async def changed(name: str) -> None:
        (tmp_path / name).write_text("x")
        await until(lambda: any(change.name == name.encode() for change in told))

    directories.listing(b"/", None)
    for _ in range(3):
        (tmp_path / "log").write_text("more")
    await changed("end")
    assert [change.name for change in told if change.name == b"log"] == [b"log"]
    directories.listing(b"/", None)
    told.clear()
    (tmp_path / "log").write_text("again")
    await changed("end2")
    assert [change.name for change in told if change.name == b"log"] == [b"log"]
    watches.close()
    os.close(target.root)


@on_loop
async def test_the_proc_file_system_is_not_watched() -> None:
    watches, target = Watches(), target_at(Path("/"))
    watches.start(lambda change: None)
    listing = Directories(Files(target), watches).listing(b"/proc/self", None)
    assert listing.watch is None
    assert not listing.exhausted
    watches.close()
    os.close(target.root)


def test_a_directory_that_may_not_be_searched_gives_names_and_types(
    directories: Directories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    usual = linux.statx

    def statx(fd: int, path: bytes, flags: int) -> linux.Statx:
        if path:
            raise PermissionError(errno.EACCES, "not searched")
        return usual(fd, path, flags)

    def add(*_: object) -> int:
        raise AssertionError("nobody would take this watch away")

    monkeypatch.setattr(linux, "statx", statx)
    monkeypatch.setattr(Watches, "add", add)
    listing = directories.listing(b"/", None)
    assert {entry.name: stat.S_IFMT(entry.attributes.mode) for entry in listing.entries} == {
        b"dir": stat.S_IFDIR,
        b"file": stat.S_IFREG,
        b"link": stat.S_IFLNK,
        b"pipe": stat.S_IFSOCK,
    }
    assert not any(entry.steady for entry in listing.entries)
    assert (listing.watch, listing.above, listing.more) == (None, (), False)
