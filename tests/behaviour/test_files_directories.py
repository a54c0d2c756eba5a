"""Remote directories that are entered, and what may not be done there."""

from collections.abc import Callable

import pytest

from ..conftest import Mirrord
from ..support.build import SYSTEM_PYTHON
from ..support.needs import tool
from ..support.running import Outcome

ENTER = "import os; os.chdir('/app/data'); print(os.getcwd()); print(open('0001.txt').read(), end='')"
SIGNALS = """
import os, signal
hits = []
signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for _ in range(100):
    os.chdir("/app/data")
    os.chdir("/usr")
signal.setitimer(signal.ITIMER_REAL, 0)
print(os.getcwd(), bool(hits))
"""
THREADS = """
import os, threading
def work():
    for _ in range(20):
        os.chdir("/app/data")
        assert os.getcwd() == "/app/data"
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(os.getcwd(), len(os.listdir("/proc/self/fd")))
"""


@pytest.mark.both_users
def test_a_remote_directory_is_entered(mirrord: Mirrord, in_pod: Callable[..., Outcome]) -> None:
    line = [SYSTEM_PYTHON, "-c", ENTER]

    assert mirrord(*line).lines == in_pod(*line).lines


def test_children_begin_where_their_parent_is(mirrord: Mirrord) -> None:
    script = "cd /app/data && sh -c '/bin/pwd; cat 0002.txt > /dev/null && cd .. && /bin/pwd'; /bin/pwd"

    assert mirrord("sh", "-c", script).lines == ["/app/data", "/app", "/app/data"]


def test_a_signal_does_not_disturb_it(mirrord: Mirrord) -> None:
    assert mirrord(SYSTEM_PYTHON, "-c", SIGNALS).lines == ["/usr True"]


@pytest.mark.both_engines
def test_any_thread_may_enter_and_nothing_stays_open(mirrord: Mirrord) -> None:
    (said,) = mirrord(SYSTEM_PYTHON, "-c", THREADS).lines

    assert said.split() == ["/app/data", "4"]


@pytest.mark.notify_only("a thread has one tracer, which mirrord is itself")
def test_under_a_debugger_it_is_not_supported(mirrord: Mirrord) -> None:
    session = mirrord(tool("strace"), "-o", "/dev/null", SYSTEM_PYTHON, "-c", ENTER)

    assert session.code == 1
    assert "Operation not supported" in session.err
    assert session.err.count("while a debugger holds a thread") == 1


@pytest.mark.parametrize(
    ("script", "errno"),
    [
        ("> new", "Read-only file system"),
        ("echo x > 0001.txt", "Read-only file system"),
        ("mkdir new", "Read-only file system"),
        ("mkdir 0001.txt", "File exists"),
        ("rm -f 0001.txt", "Read-only file system"),
        ("ln -s x new", "Read-only file system"),
        ("mv 0001.txt new", "Read-only file system"),
        ("chmod 600 0001.txt", "Read-only file system"),
        ("chmod 600 none", "No such file or directory"),
        ("> none/new", "nonexistent"),
        ("echo > .", "directory"),
    ],
)
def test_writing_there_fails_as_on_a_read_only_mount(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], script: str, errno: str
) -> None:
    session = mirrord("sh", "-c", f"cd /app/data && LC_ALL=C {script}")

    assert session.code != 0
    assert errno.lower() in session.err.lower()
    assert in_pod("cat", "/app/data/0001.txt").lines


def test_what_only_the_target_has_is_not_executed(mirrord: Mirrord, in_pod: Callable[..., Outcome]) -> None:
    in_pod("sh", "-c", "echo '#!/bin/sh' > /app/tool; chmod +x /app/tool")

    session = mirrord("sh", "-c", "cd /app; ./tool; echo $?; /app/tool; echo $?")

    assert session.lines == ["127", "127"]
    assert "exists in the target only" in session.err
    in_pod("rm", "/app/tool")
