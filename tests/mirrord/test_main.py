import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("encoding", "shown"), [("latin-1", b"PLANE|CALL,~"), ("utf-8", "PLANE|CALL,…".encode())]
)
def test_what_the_encoding_has_not_is_written_as_something_else(encoding: str, shown: bytes) -> None:
    line = [sys.executable, "-m", "mirrord", "trace", "--help"]
    done = subprocess.run(line, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert shown in done.stdout
