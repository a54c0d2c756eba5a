import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirrord_agent.credentials import Credentials
from mirrord_agent.errors import AgentError
from mirrord_agent.files import Files
from mirrord_agent.target import Target
from mirrord_agent.wire.messages import PAGE

from .running import on_loop
from .test_linux import needs_root


def target_at(root: Path, credentials: Credentials | None = None) -> Target:
    """Return a target that has a directory as its root."""
    return Target(
        pid=os.getpid(),
        pidfd=-1,
        root=os.open(root, os.O_PATH | os.O_DIRECTORY),
        environment=(),
        credentials=credentials or Credentials.of_this_thread(),
    )


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    target = target_at(tmp_path)
    yield Files(target)
    os.close(target.root)


def failing(number: int) -> "pytest.RaisesExc[OSError]":
    """Expect an errno."""
    return pytest.RaisesExc(OSError, check=lambda error: error.errno == number)


def test_attributes_are_the_files(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("/file")
    known = (tmp_path / "file").stat()
    for path in (b"/file", b"/link"):
        found = files.attributes(path, True)
        assert (found.ino, found.size, found.mtime_ns) == (known.st_ino, 5, known.st_mtime_ns)
    assert stat.S_ISLNK(files.attributes(b"/link", False).mode)
    assert stat.S_ISDIR(files.attributes(b"/", True).mode)


@pytest.mark.parametrize(
    ("path", "number"),
    [
        (b"/none", errno.ENOENT),
        (b"/file/below", errno.ENOTDIR),
        (b"/file/", errno.ENOTDIR),
        (b"/loop", errno.ELOOP),
        (b"/dangling", errno.ENOENT),
        (b"/" + b"n" * 256, errno.ENAMETOOLONG),
        (b"/a\0b", errno.EINVAL),
    ],
)
def test_errnos_are_the_kernels(files: Files, tmp_path: Path, path: bytes, number: int) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("/etc/passwd")
    with failing(number):
        files.attributes(path, True)


def test_links_are_read(files: Files, tmp_path: Path) -> None:
    os.symlink(b"/\xff target", os.fsencode(tmp_path) + b"/\xff")
    assert files.read_link(b"/\xff") == b"/\xff target"
    with failing(errno.EINVAL):
        files.read_link(b"/")


def test_access_is_checked(files: Files, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(0o600)
    for effective in (False, True):
        files.access(b"/file", os.R_OK | os.W_OK, True, effective)
        files.access(b"/file", os.F_OK, True, effective)
        with failing(errno.EACCES):
            files.access(b"/file", os.X_OK, True, effective)
    with failing(errno.ENOENT):
        files.access(b"/none", os.F_OK, True, False)


def test_content_is_opened(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    attributes, fd = files.open_content(b"/file", True)
    assert fd is not None
    with open(fd, "rb") as file:
        assert file.read() == b"content"
    assert attributes.size == 7
    assert files.open_content(b"/", True)[1] is None


def test_what_has_no_content_is_not_opened(files: Files, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    before = set(os.listdir("/proc/self/fd"))
    for path, follow, number in (
        (b"/fifo", True, errno.ENOTSUP),
        (b"/link", False, errno.ELOOP),
        (b"/socket", True, errno.ENXIO),
    ):
        with failing(number):
            files.open_content(path, follow)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_directory_is_listed_by_name(files: Files, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "c").symlink_to("nowhere")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff \n")).touch()
    listing = files.listing(b"/", None)
    assert [name for name, _ in listing.entries] == [b"a", b"b", b"c", b"\xff \n"]
    assert [stat.S_IFMT(entry.mode) for _, entry in listing.entries] == [
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFLNK,
        stat.S_IFREG,
    ]
    assert listing.attributes.ino == tmp_path.stat().st_ino
    assert not listing.more
    with failing(errno.ENOTDIR):
        files.listing(b"/a", None)


def test_a_large_directory_comes_in_pages(files: Files, tmp_path: Path) -> None:
    names = sorted(b"%05d" % number for number in range(2 * PAGE + 5))
    for name in names:
        (tmp_path / name.decode()).touch()
    found: list[bytes] = []
    after: bytes | None = None
    sizes = []
    while True:
        listing = files.listing(b"/", after)
        found += [name for name, _ in listing.entries]
        sizes.append(len(listing.entries))
        if not listing.more:
            break
        after = found[-1]
    assert (found, sizes) == (names, [PAGE, PAGE, 5])
    # a file that came and one that went while the pages were asked for
    (tmp_path / "00999x").touch()
    (tmp_path / "01000").unlink()
    assert [name for name, _ in files.listing(b"/", b"00999").entries][:2] == [b"00999x", b"01001"]


@on_loop
async def test_the_agent_says_that_it_may_not_act_as_the_target() -> None:
    me = Credentials.of_this_thread()
    if os.geteuid() == 0:
        # as root everything is allowed, except an id that is none
        me = Credentials((1, 1, 1, 2**32 - 1), me.gids, me.groups, effective=0, permitted=0)
    else:
        me = Credentials((0, 0, 0, 0), me.gids, me.groups, effective=0, permitted=0)
    with pytest.raises(AgentError, match="may not act with the credentials of the target"):
        await Files(target_at(Path("/"), me)).check()


@needs_root
def test_the_targets_rights_count(common: Path) -> None:
    (common / "secret").write_bytes(b"x")
    (common / "secret").chmod(0o600)
    (common / "theirs").write_bytes(b"x")
    (common / "theirs").chmod(0o600)
    os.chown(common / "theirs", 1234, 1234)
    (common / "group").write_bytes(b"x")
    (common / "group").chmod(0o640)
    os.chown(common / "group", 0, 77)
    user = Credentials((1234,) * 4, (1234,) * 4, frozenset({77}), effective=0, permitted=0)

    @on_loop
    async def check() -> None:
        files = Files(target_at(common, user))
        for path in (b"/theirs", b"/group"):
            _, fd = await files.run(files.open_content, path, True)
            assert fd is not None
            os.close(fd)
            await files.run(files.access, path, os.R_OK, True, False)
        with failing(errno.EACCES):
            await files.run(files.open_content, b"/secret", True)
        for effective in (False, True):
            with failing(errno.EACCES):
                await files.run(files.access, b"/secret", os.R_OK, True, effective)

    check()


@needs_root
def test_the_targets_capabilities_count(common: Path) -> None:
    (common / "secret").write_bytes(b"x")
    (common / "secret").chmod(0)
    read_search = 1 << 2
    root = (0,) * 4
    with_it = Credentials(root, root, frozenset(), effective=read_search, permitted=read_search)
    without = Credentials(root, root, frozenset(), effective=0, permitted=0)

    @on_loop
    async def check() -> None:
        files = Files(target_at(common, with_it))
        _, fd = await files.run(files.open_content, b"/secret", True)
        assert fd is not None
        os.close(fd)
        files = Files(target_at(common, without))
        with failing(errno.EACCES):
            await files.run(files.open_content, b"/secret", True)

    check()
