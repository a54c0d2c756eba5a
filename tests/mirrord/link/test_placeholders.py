import hashlib
import os
import resource
import stat
from pathlib import Path

import pytest

from mirrord.link.placeholders import Content, Identity, Placeholders

from .agent import attributes

DIRECTORY = 0o40755
LINK = 0o120777


@pytest.fixture
def tree(tmp_path: Path) -> Placeholders:
    return Placeholders(str(tmp_path / "fs"))


def test_the_tree_is_private(tree: Placeholders) -> None:
    assert stat.S_IMODE(os.stat(tree.root).st_mode) == 0o700
    assert not tree.in_use


def test_a_placeholder_is_at_the_same_path(tree: Placeholders) -> None:
    placeholder = tree.path(b"/srv/data/file", attributes(size=12_345))
    assert placeholder == tree.root + b"/srv/data/file"
    status = os.lstat(placeholder)
    assert (status.st_size, stat.S_IMODE(status.st_mode)) == (12_345, 0o644)
    assert tree.in_use


def test_a_placeholder_stays(tree: Placeholders) -> None:
    first = tree.identity(b"/a", attributes())
    assert tree.identity(b"/a", attributes()) == first
    assert first == Identity(*_numbers(tree.root + b"/a"))


def test_a_link_that_became_a_directory_is_not_in_the_way(tree: Placeholders) -> None:
    tree.path(b"/a", attributes(ino=1, mode=LINK))
    below = tree.path(b"/a/b/c", attributes(ino=2))
    assert below == tree.root + b"/a/b/c"
    assert os.path.isfile(below)


def test_a_file_may_be_longer_than_one_can_be_here(tree: Placeholders) -> None:
    """One may look at it, and list its directory."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        placeholder = tree.path(b"/huge", attributes(size=1 << 40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.path.isfile(placeholder)


def test_hard_links_share_an_identity(tree: Placeholders) -> None:
    one, other = attributes(ino=1, nlink=2), attributes(ino=2)
    assert tree.identity(b"/a", one) == tree.identity(b"/dir/b", one)
    assert tree.identity(b"/a", one) != tree.identity(b"/c", other)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (0o100600, stat.S_IFREG),
        (DIRECTORY, stat.S_IFDIR),
        (LINK, stat.S_IFLNK),
        (0o140777, stat.S_IFSOCK),
        (0o010644, stat.S_IFSOCK),
        (0o020666, stat.S_IFSOCK),
        (0o060660, stat.S_IFSOCK),
    ],
)
def test_a_placeholder_is_of_its_kind_or_cannot_be_opened(tree: Placeholders, mode: int, kind: int) -> None:
    placeholder = tree.path(b"/x", attributes(mode=mode))
    assert stat.S_IFMT(os.lstat(placeholder).st_mode) == kind
    assert tree.path(b"/x", attributes(mode=mode)) == placeholder
    if kind == stat.S_IFSOCK:
        with pytest.raises(OSError):
            os.open(placeholder, os.O_RDONLY | os.O_NONBLOCK)


@pytest.mark.parametrize("mode", [0o106755, 0o102755])
def test_no_placeholder_is_setuid(tree: Placeholders, mode: int) -> None:
    placeholder = tree.path(b"/x", attributes(mode=mode))
    assert stat.S_IMODE(os.lstat(placeholder).st_mode) == 0o755
    tree.dress(placeholder, attributes(mode=mode))
    assert stat.S_IMODE(os.lstat(placeholder).st_mode) == 0o755


def test_a_new_version_leaves_the_old_open_file_alone(tree: Placeholders) -> None:
    placeholder = tree.empty(b"/f", attributes())
    Path(os.fsdecode(placeholder)).write_bytes(b"first")
    os.sync()
    with open(placeholder, "rb") as reader:
        tree.filled(attributes(), Content(attributes().version(), True, hashlib.blake2b(b"first"), 5))
        again = tree.empty(b"/f", attributes(mtime_ns=9))
        assert again == placeholder
        Path(os.fsdecode(again)).write_bytes(b"second")
        assert reader.read() == b"first"
        assert os.fstat(reader.fileno()).st_ino != os.stat(again).st_ino


def test_a_file_that_was_not_fetched_keeps_its_identity_when_it_is(tree: Placeholders) -> None:
    identity = tree.identity(b"/f", attributes(size=100_000))
    tree.empty(b"/f", attributes(size=100_000))
    assert tree.identity(b"/f", attributes(size=100_000)) == identity


@pytest.mark.parametrize("root", [True, False])
def test_a_dressed_placeholder_has_mode_and_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    tree = Placeholders(str(tmp_path / "tree"))
    remote = attributes(mode=0o100040)
    placeholder = tree.empty(b"/f", remote)
    tree.dress(placeholder, remote)
    status = os.lstat(placeholder)
    assert stat.S_IMODE(status.st_mode) == (0o040 if root else 0o440)
    assert (status.st_atime_ns, status.st_mtime_ns) == (remote.atime_ns, remote.mtime_ns)


def test_a_changed_kind_makes_a_new_placeholder(tree: Placeholders) -> None:
    tree.path(b"/x", attributes())
    placeholder = tree.path(b"/x", attributes(mode=DIRECTORY))
    assert stat.S_ISDIR(os.lstat(placeholder).st_mode)
    assert stat.S_ISREG(os.lstat(tree.path(b"/x", attributes())).st_mode)


def test_a_file_in_the_way_of_a_directory_is_cleared(tree: Placeholders) -> None:
    tree.path(b"/a/b", attributes(ino=1))
    below = tree.path(b"/a/b/c/d", attributes(ino=2))
    assert below == tree.root + b"/a/b/c/d"
    assert stat.S_ISREG(os.lstat(below).st_mode)


def test_a_directory_in_the_way_of_a_file_is_cleared(tree: Placeholders) -> None:
    tree.path(b"/a/b", attributes(ino=1))
    assert stat.S_ISREG(os.lstat(tree.path(b"/a", attributes(ino=2))).st_mode)


def test_a_new_file_of_the_same_name_takes_its_place(tree: Placeholders) -> None:
    old = tree.identity(b"/a", attributes(ino=1))
    with open(tree.root + b"/a", "rb"):
        assert tree.identity(b"/a", attributes(ino=2)) != old


def test_a_file_whose_name_was_taken_gets_another_placeholder(tree: Placeholders) -> None:
    tree.path(b"/log", attributes(ino=1))
    new = tree.identity(b"/log", attributes(ino=2))
    assert tree.identity(b"/log.1", attributes(ino=1)) != new
    assert tree.identity(b"/log", attributes(ino=2)) == new


@pytest.mark.parametrize("path", [b"/../../x", b"/a/../../x", b"//x", b"/./x"])
def test_no_placeholder_is_outside_of_the_tree(tree: Placeholders, path: bytes) -> None:
    assert tree.path(path, attributes()) == tree.root + b"/x"


def test_a_link_does_not_lead_out_of_the_tree(tree: Placeholders, tmp_path: Path) -> None:
    link = tree.path(b"/link", attributes(ino=1, mode=LINK))
    assert not os.path.exists(link)
    below = tree.path(b"/link/file", attributes(ino=2))
    assert os.path.realpath(below) == os.path.realpath(tree.root) + b"/link/file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fs"]


def test_the_remote_path_of_a_placeholder(tree: Placeholders) -> None:
    assert tree.remote_path(tree.root) == b"/"
    assert tree.remote_path(tree.root + b"/etc/x") == b"/etc/x"
    assert tree.remote_path(tree.root + b"2/etc/x") is None
    assert tree.remote_path(b"/etc/x") is None


def test_the_root_directory_itself_has_a_placeholder(tree: Placeholders) -> None:
    below = tree.path(b"/a", attributes(ino=1))
    root = tree.path(b"/", attributes(ino=2, mode=DIRECTORY))
    assert os.path.isdir(root)
    assert os.path.exists(below), "what is in it stays"


def test_a_directory_that_is_looked_at_after_what_is_in_it_keeps_that(tree: Placeholders) -> None:
    below = tree.identity(b"/a/b", attributes(ino=1))
    tree.path(b"/a", attributes(ino=2, mode=DIRECTORY))
    assert _numbers(tree.root + b"/a/b") == below


def _numbers(path: bytes) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
