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
from mirrord_agent.wire.messages import OpenFile, Stat

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


def opening(path: bytes, flags: int = 0) -> OpenFile:
    """Return a request to open."""
    return OpenFile(stream=1, path=path, flags=flags)


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
    attributes, fd = files.open_content(opening(b"/file"))
    assert fd is not None
    with open(fd, "rb") as file:
        assert file.read() == b"content"
    assert attributes.size == 7
    assert files.open_content(opening(b"/"))[1] is None


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
            files.open_content(opening(path, 0 if follow else os.O_NOFOLLOW))
    assert set(os.listdir("/proc/self/fd")) == before


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
            _, fd = await files.run(files.open_content, opening(path))
            assert fd is not None
            os.close(fd)
            await files.run(files.access, path, os.R_OK, True, False)
        with failing(errno.EACCES):
            await files.run(files.open_content, opening(b"/secret"))
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
        _, fd = await files.run(files.open_content, opening(b"/secret"))
        assert fd is not None
        os.close(fd)
        files = Files(target_at(common, without))
        with failing(errno.EACCES):
            await files.run(files.open_content, opening(b"/secret"))

    check()


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("absolute", "/etc/passwd"),
        ("up", "../../../../../../etc/passwd"),
        ("nested", "dir/../../../../etc/passwd"),
        ("chain", "up"),
        ("proc", "/proc/self/root/etc/passwd"),
        ("directory", "/../.."),
    ],
)
def test_no_link_leads_out_of_the_root(files: Files, tmp_path: Path, link: str, target: str) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "up").symlink_to("../../../../../../etc/passwd")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("the target's")
    if link != "up":
        (tmp_path / link).symlink_to(target)
    path = f"/{link}/etc/passwd" if link == "directory" else f"/{link}"
    if link == "proc":
        with pytest.raises(OSError):
            files.open_content(opening(os.fsencode(path)))
        return
    _, fd = files.open_content(opening(os.fsencode(path)))
    assert fd is not None
    with open(fd) as file:
        assert file.read() == "the target's"


def test_a_base_keeps_paths_below_it(files: Files, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "base" / "file").touch()
    (tmp_path / "base" / "out").symlink_to("../secret")
    (tmp_path / "base" / "root").symlink_to("/file")
    beneath, in_root = 0x08, 0x10

    def look(path: bytes, resolve: int) -> bytes | None:
        return files.stat(Stat(path=path, base=b"/base", resolve=resolve)).real

    assert look(b"file", beneath) == look(b"root", in_root) == b"/base/file"
    for path in (b"out", b"root", b"/file", b"../secret"):
        with failing(errno.EXDEV):
            look(path, beneath)
    with failing(errno.ENOENT):
        look(b"out", in_root)
    with failing(errno.EINVAL):
        look(b"../secret", 0x04)
    with failing(errno.ELOOP):
        files.stat(Stat(path=b"/base/root", resolve=0x04))


def test_the_real_path_is_told_where_it_is_another(files: Files, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "file").touch()
    (tmp_path / "link").symlink_to("dir")
    assert files.stat(Stat(path=b"/link/file")).real == b"/dir/file"
    assert files.stat(Stat(path=b"/dir/file")).real is None
    assert files.stat(Stat(path=b"/link", follow=False)).real is None


def test_attributes_and_the_file_system_are_the_kernels(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.setxattr(tmp_path / "file", "user.color", b"blue")
    assert files.xattr(b"/file", True, b"user.color") == b"blue"
    assert files.xattrs(b"/file", True) == b"user.color\0"
    with failing(errno.ENODATA):
        files.xattr(b"/file", True, b"user.none")
    found, known = files.file_system(b"/file"), os.statvfs(tmp_path)
    assert (found.frsize, found.blocks, found.namelen) == (known.f_frsize, known.f_blocks, known.f_namemax)
