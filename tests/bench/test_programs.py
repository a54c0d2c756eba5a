"""The bench's own programs print what it reads."""

import os
import shutil
import subprocess

import pytest

from bench.command import PYTHON, BenchError, compiled, local_file, run
from bench.crowd import descendants, resident
from bench.sample import parse

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.mark.parametrize("way", ["openat", "stat", "connect", "connect-own", "messages", "lseek", "read"])
def test_each_way_of_calling_is_timed(way: str) -> None:
    printed = parse(run([compiled("calls"), way, "100", local_file()]))
    assert set(printed) == {"median", "p99", "mean"}


def test_a_program_is_timed_as_often_as_asked() -> None:
    assert len(parse(run([compiled("timed"), "3", "true"]))["took"]) == 3


def test_a_program_that_fails_is_not_timed() -> None:
    with pytest.raises(BenchError, match="exit code 1"):
        run([compiled("timed"), "1", "false"])


def test_this_process_is_looked_at() -> None:
    assert resident(os.getpid()) > 2**20
    script = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '9']); print('child', p.pid, flush=True);"
        "sys.stdin.read(); p.kill()"
    )
    with subprocess.Popen(
        [PYTHON, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline().split()[1])
        assert list(descendants(process.pid)) == [child]
        process.communicate(timeout=10)
