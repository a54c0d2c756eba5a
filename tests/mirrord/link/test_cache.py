import errno
from typing import Any

import pytest
from mirrord_agent.wire.messages import Attributes, Changed, Entry, Listing

from mirrord.link import cache as module
from mirrord.link.cache import Cache

from .agent import attributes

FOLDER = 0o40755
LINK = 0o120777


def entry(name: bytes, **values: Any) -> Entry:
    more = {key: values.pop(key) for key in ("target", "watch", "steady", "xattrs") if key in values}
    return Entry(name=name, attributes=attributes(**values), **more)


def listing(*entries: Entry, watch: int | None, above: tuple[int, ...] = (), more: bool = False) -> Listing:
    return Listing(attributes=folder(), entries=entries, watch=watch, above=above, more=more)


def folder() -> Attributes:
    return attributes(ino=1, mode=FOLDER)


@pytest.fixture
def cache() -> Cache:
    """What is known of ``/app`` and ``/app/dir``."""
    made = Cache()
    entries = (
        entry(b"file"),
        entry(b"dir", mode=FOLDER, watch=30),
        entry(b"other", mode=FOLDER),
        entry(b"link", mode=LINK, target=b"dir/below"),
        entry(b"up", mode=LINK, target=b"../app/file"),
        entry(b"loop", mode=LINK, target=b"loop"),
        entry(b"away", mode=LINK, target=b"/srv/x"),
        entry(b"hard", nlink=2, steady=False),
    )
    made.take(b"/app", listing(*entries, watch=20, above=(10,)))
    made.take(b"/app/dir", listing(entry(b"below"), watch=30, above=(10, 20)))
    return made


@pytest.mark.parametrize(
    ("path", "real"),
    [
        (b"/app/file", b"/app/file"),
        (b"//app/./file", b"/app/file"),
        (b"/app/dir", b"/app/dir"),
        (b"/app/dir/.", b"/app/dir"),
        (b"/app/dir/..", b"/app"),
        (b"/app/dir/../file", b"/app/file"),
        (b"/app/link", b"/app/dir/below"),
        (b"/app/up", b"/app/file"),
        (b"/app/other/", b"/app/other"),
    ],
)
def test_a_path_is_walked(cache: Cache, path: bytes, real: bytes) -> None:
    found = cache.find(path, follow=True)
    assert found is not None
    assert found.path == real


@pytest.mark.parametrize(
    "path",
    [
        b"/srv/x",
        b"/app/other/x",
        b"/app/away",
        b"/app/other/../file",
        b"/app/" + b"x" * 256,
        b"/app/link/../x",
    ],
)
def test_what_leads_beyond_is_not_known(cache: Cache, path: bytes) -> None:
    try:
        assert cache.find(path, follow=True) is None
    except NotADirectoryError:
        assert path == b"/app/link/../x"


@pytest.mark.parametrize(
    ("path", "number"),
    [
        (b"/app/none", errno.ENOENT),
        (b"/app/none/x", errno.ENOENT),
        (b"/app/dir/none", errno.ENOENT),
        (b"/app/file/x", errno.ENOTDIR),
        (b"/app/file/", errno.ENOTDIR),
        (b"/app/loop", errno.ELOOP),
    ],
)
def test_errnos_are_known(cache: Cache, path: bytes, number: int) -> None:
    with pytest.raises(OSError) as caught:
        cache.find(path, follow=True)
    assert caught.value.errno == number


def known(cache: Cache, path: bytes) -> bool:
    found = cache.find(path, follow=False)
    return found is not None and cache.attributes(found) is not None


def test_attributes_that_may_change_untold_are_not_kept(cache: Cache) -> None:
    assert known(cache, b"/app/file")
    assert known(cache, b"/app/link")
    assert not known(cache, b"/app/hard")
    assert not known(cache, b"/app/other")
    assert known(cache, b"/app/dir")


def test_a_changed_name_is_unknown_until_it_is_listed_again(cache: Cache) -> None:
    assert cache.changed(Changed(watch=20, name=b"new", names=True)) == {b"/app"}
    cache.changed(Changed(watch=20, name=b"file"))
    assert cache.find(b"/app/new", follow=False) is None
    assert cache.find(b"/app/file", follow=False) is None
    assert not known(cache, b"/app")
    cache.take(b"/app", listing(entry(b"file"), watch=20, above=(10,)))
    assert known(cache, b"/app/file")


def test_what_comes_into_a_directory_changes_its_attributes(cache: Cache) -> None:
    cache.drop(b"/app/dir")
    assert known(cache, b"/app/dir")
    cache.changed(Changed(watch=30, name=b"new", names=True))
    assert not known(cache, b"/app/dir")
    assert cache.find(b"/app/dir", follow=False) is not None


@pytest.mark.parametrize(
    "change",
    [
        Changed(watch=20, name=b"dir", names=True),
        Changed(watch=10, name=b"app", names=True),
        Changed(watch=30),
        Changed(watch=10),
        Changed(watch=-1),
    ],
)
def test_a_directory_that_went_or_moved_is_forgotten(cache: Cache, change: Changed) -> None:
    cache.changed(change)
    assert b"/app/dir" not in cache.directories


def test_another_name_above_does_not_matter(cache: Cache) -> None:
    cache.changed(Changed(watch=10, name=b"srv", names=True))
    assert known(cache, b"/app/dir/below")


def test_a_change_told_before_the_listing_came_counts() -> None:
    cache = Cache()
    cache.begin()
    cache.changed(Changed(watch=5, name=b"a"))
    cache.take(b"/srv", listing(entry(b"a"), entry(b"b"), watch=5, above=(1,)))
    cache.end()
    assert cache.find(b"/srv/a", follow=False) is None
    assert known(cache, b"/srv/b")


def test_a_later_page_does_not_bring_back_what_changed() -> None:
    cache = Cache()
    directory = cache.take(b"/srv", listing(entry(b"a"), watch=5, more=True))
    assert directory is not None
    assert cache.find(b"/srv/none", follow=False) is None
    cache.changed(Changed(watch=5, name=b"b"))
    cache.go_on(directory, listing(entry(b"b"), entry(b"c"), watch=None))
    assert cache.find(b"/srv/b", follow=False) is None
    assert known(cache, b"/srv/c")
    with pytest.raises(FileNotFoundError):
        cache.find(b"/srv/none", follow=False)


def test_what_is_not_watched_is_not_kept() -> None:
    cache = Cache()
    assert cache.take(b"/srv", listing(entry(b"a"), watch=None)) is None
    assert cache.find(b"/srv/a", follow=False) is None


def test_memory_is_bounded_and_watches_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ENTRIES", 10)
    cache = Cache()
    for number in range(20):
        cache.take(
            b"/%d" % number, listing(*(entry(b"%d" % n) for n in range(4)), watch=100 + number, above=(1,))
        )
    assert sum(len(directory.names) for directory in cache.directories.values()) <= 10
    assert b"/19" in cache.directories
    assert set(cache.unused()) == {100 + number for number in range(18)}
    assert cache.unused() == ()
