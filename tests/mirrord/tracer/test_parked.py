import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from mirrord.tracer.parked import Parked, park

from .puppet import parked


def outcome(process: Parked) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])


def run(*argv: bytes, environment: dict[bytes, bytes] | None = None) -> tuple[int, int]:
    """Execute a program; return its exit code and the errno that was reported."""
    process = parked()
    process.execute(argv, environment or {b"PATH": os.environb[b"PATH"]})
    failure = process.failure()
    return outcome(process), failure


def output(*argv: bytes, environment: dict[bytes, bytes]) -> bytes:
    read, write = os.pipe()
    process = parked(stdout=write)
    os.close(write)
    process.execute(argv, environment)
    with open(read, "rb") as stream:
        told = stream.read()
    assert (process.failure(), outcome(process)) == (0, 0)
    return told


def script(path: Path, text: str, mode: int = 0o755) -> bytes:
    path.write_text(text)
    path.chmod(mode)
    return os.fsencode(path)


def test_a_program_is_executed() -> None:
    assert run(b"sh", b"-c", b"exit 7") == (7, 0)
    assert run(b"/bin/sh", b"-c", b"exit 8") == (8, 0)


def test_arguments_and_environment_are_any_bytes() -> None:
    environment = {b"PATH": os.environb[b"PATH"], b"X": b"\x80\n\xc3"}
    told = output(
        b"sh", b"-c", b'printf "%s|" "$@"; env -0', b"0", b"\xff\xfe", b"", b"a b\n", environment=environment
    )
    assert told.startswith(b"\xff\xfe||a b\n|")
    assert b"X=\x80\n\xc3\0" in told


def test_one_that_was_killed_takes_no_orders() -> None:
    process = parked()
    os.kill(process.pid, signal.SIGKILL)
    assert outcome(process) == -signal.SIGKILL
    process.execute([b"true"], {})
    assert process.failure() == 0


def test_no_word_ends_the_process() -> None:
    process = parked()
    os.close(process.orders)
    assert process.failure() == 0
    assert outcome(process) == 0


@pytest.mark.parametrize(
    ("program", "number"),
    [
        (b"no-such-program-anywhere", errno.ENOENT),
        (b"/no/such/program", errno.ENOENT),
        (b"/etc/passwd/x", errno.ENOENT),
        (b"/usr", errno.EACCES),
    ],
)
def test_what_cannot_be_executed_is_reported(program: bytes, number: int) -> None:
    assert run(program) == (127, number)


def test_the_path_is_searched_as_execvp_does(tmp_path: Path) -> None:
    for folder in ("first", "second", "third"):
        (tmp_path / folder).mkdir()
    script(tmp_path / "first" / "it", "#!/bin/sh\nexit 1\n", mode=0o644)
    script(tmp_path / "third" / "it", "#!/bin/sh\nexit 3\n")
    first, second, third = (os.fsencode(tmp_path / name) for name in ("first", "second", "third"))
    assert run(b"it", environment={b"PATH": b":".join((first, second, third))}) == (3, 0)
    assert run(b"it", environment={b"PATH": b":".join((first, second))}) == (127, errno.EACCES)
    assert run(b"it", environment={b"PATH": second}) == (127, errno.ENOENT)


def test_without_a_path_there_is_a_default() -> None:
    assert run(b"sh", b"-c", b"exit 5", environment={b"X": b"1"}) == (5, 0)


def test_a_script_without_an_interpreter_is_the_shells(tmp_path: Path) -> None:
    path = script(tmp_path / "script", "exit $(($# + $1))\n")
    assert run(path, b"5", b"x") == (7, 0)


def test_a_script_with_a_missing_interpreter(tmp_path: Path) -> None:
    assert run(script(tmp_path / "script", "#!/no/such/interpreter\n")) == (127, errno.ENOENT)


def test_too_large_arguments(tmp_path: Path) -> None:
    assert run(b"sh", b"x" * (1 << 20)) == (127, errno.E2BIG)


def test_signals_that_python_ignores_are_as_before_again() -> None:
    told = output(b"cat", b"/proc/self/status", environment={b"PATH": os.environb[b"PATH"]})
    ignored = next(int(line.split()[1], 16) for line in told.splitlines() if line.startswith(b"SigIgn:"))
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_what_is_to_run_in_the_child_runs_there_at_once() -> None:
    read, write = os.pipe()

    def tell() -> None:
        os.write(write, b"%d" % os.getpid())
        os.close(write)

    process = park([read], in_child=tell)
    os.close(write)
    with open(read, "rb", buffering=0) as stream:
        assert int(stream.read()) == process.pid
    os.close(process.orders)
    assert (process.failure(), outcome(process)) == (0, 0)


ALONE: Final = """
import sys
from mirrord.tracer.parked import park
process = park([], in_child=lambda: None)
process.execute(eval(sys.argv[1]), eval(sys.argv[2]))
print(process.failure())
"""


@pytest.mark.parametrize(
    ("argv", "environment"), [([b""], {}), ([b"true"], {b"A=B": b""}), ([b"true"], {b"A": b"\0"})]
)
def test_what_python_refuses_to_execute_is_reported(
    argv: list[bytes], environment: dict[bytes, bytes]
) -> None:
    """In a process of its own, as the fork must not escape into the tests."""
    line = [sys.executable, "-c", ALONE, repr(argv), repr(environment)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=20)
    assert ended.stderr == ""
    assert ended.stdout in (f"{errno.ENOENT}\n", f"{errno.EINVAL}\n")


def test_descriptors_of_the_supervisor_are_closed(tmp_path: Path) -> None:
    with open(tmp_path / "kept", "w") as kept:
        os.set_inheritable(kept.fileno(), True)
        process = park([kept.fileno()], in_child=lambda: None)
        process.execute([b"/bin/sh", b"-c", b"ls -l /proc/$$/fd | grep -c kept"], {b"PATH": b"/bin:/usr/bin"})
        assert (process.failure(), outcome(process)) == (0, 1)
