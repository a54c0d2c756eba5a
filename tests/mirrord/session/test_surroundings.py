import os
import subprocess
from pathlib import Path

import pytest

from mirrord.errors import AttachError
from mirrord.session.surroundings import surroundings_of

from ...support.build import SYSTEM_PYTHON


def test_what_a_process_is(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text("print(flush=True); input()")
    environment = {"HOME": "/home/other", "TMPDIR": "/scratch", "EMPTY": "", "RAW": "=\udcff"}
    with subprocess.Popen(
        [SYSTEM_PYTHON, "-I", "-S", str(script), "", "last"],
        cwd=tmp_path, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        process.stdout.readline()
        found = surroundings_of(process.pid, lambda: iter([process.pid]))
        process.kill()
    assert os.path.basename(found.program[0]).startswith("python")
    assert list(found.program[1:]) == ["-I", "-S", str(script), "", "last"]
    assert found.cwd == os.fsencode(tmp_path)
    assert {name: found.environment[name] for name in environment} == environment
    assert list(found.processes()) == [process.pid]


def test_one_that_has_ended() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        with pytest.raises(AttachError, match="has ended meanwhile"):
            surroundings_of(process.pid, lambda: iter(()))
