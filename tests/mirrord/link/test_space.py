import errno
import os
from pathlib import Path

import pytest

from mirrord.link.space import Space, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("2k", 2048), ("500M", 500 * 2**20), (" 2 GiB".replace(" ", ""), 2 * 2**30), ("1TB", 2**40)],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "1.5G", "-1", "all", "1X"])
def test_what_is_no_size_is_none(text: str) -> None:
    assert parse_size(text) is None


def filled(folder: Path, name: str, size: int) -> bytes:
    (folder / name).write_bytes(b"x" * size)
    (folder / name).chmod(0o444)
    return os.fsencode(folder / name)


def test_what_nobody_has_open_goes_first(tmp_path: Path) -> None:
    space = Space(os.fsencode(tmp_path), 100)
    old, new = (filled(tmp_path, name, 40) for name in ("old", "new"))
    space.holds(old, 40)
    space.holds(new, 40)
    with open(old, "rb"):
        assert list(space.must_go(50)) == [new]
    assert (os.path.getsize(old), os.path.getsize(new)) == (40, 0)
    assert os.stat(new).st_mode & 0o777 == 0o444
    assert list(space.must_go(50)) == []


def test_without_room_it_is_enospc(tmp_path: Path) -> None:
    space = Space(os.fsencode(tmp_path), 100)
    path = filled(tmp_path, "file", 80)
    space.holds(path, 80)
    with open(path, "rb"), pytest.raises(OSError) as caught:
        list(space.must_go(50))
    assert caught.value.errno == errno.ENOSPC
    space.lets_go(path)
    assert list(space.must_go(100)) == []
    with pytest.raises(OSError):
        list(space.must_go(101))


def test_by_default_half_of_what_is_free(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    assert 0 < Space(os.fsencode(tmp_path), None).limit <= free.f_blocks * free.f_frsize // 2
