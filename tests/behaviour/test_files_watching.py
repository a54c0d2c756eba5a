"""Directories that are watched, by us and by programs; and what there is without watches."""

import re

import pytest

from ..conftest import Mirrord
from ..support.build import SYSTEM_PYTHON
from ..support.needs import tool
from ..support.running import Runner, statistics

WATCH = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
inotify = libc.inotify_init()
def watch(path):
    done = libc.inotify_add_watch(inotify, path, 0xfff)
    print(os.fsdecode(path), "watched" if done > 0 else errno.errorcode[ctypes.get_errno()])
os.chdir("/app")
for path in (b"/app/data", b"/app/config.yaml", b"data", b"/app/none", b"/usr"):
    watch(path)
"""
NO_WATCHES = 'echo 1 > /proc/sys/user/max_inotify_watches && exec "$@"'
LOOK = "for i in 1 2; do ls /app/data | wc -l; stat -c %n /app/data/0001.txt; cat /app/data/0001.txt; done"


@pytest.mark.both_users
def test_programs_are_told_once_that_nothing_is_told_of_changes(mirrord: Mirrord) -> None:
    session = mirrord(SYSTEM_PYTHON, "-c", WATCH)

    assert session.lines == [
        "/app/data ENOSYS",
        "/app/config.yaml ENOSYS",
        "data ENOSYS",
        "/app/none ENOENT",
        "/usr watched",
    ]
    assert session.err.count("watching them fails with ENOSYS") == 1


@pytest.mark.both_users
def test_a_target_without_watches_is_asked_each_time(runner: Runner) -> None:
    """As a private sandbox whose user namespace has none: the limit counts in each namespace."""
    inside = [tool("unshare"), "--user", "--map-root-user", "sh", "-c", NO_WATCHES, "sh"]
    line = [runner.user.mirrord, "exec", "-t", "sandbox", "-v", "--", "sh", "-c", LOOK]

    limited, usual = runner.run([*inside, *line]), runner.run(line)

    assert limited.lines == usual.lines
    assert len(re.findall("cannot watch more directories", limited.err)) == 1
    assert "cannot watch" not in usual.err
    for request in ("list_directory", "stat"):
        assert statistics(limited.err).get(request, 0) > statistics(usual.err).get(request, 0)
