"""Runs programs: bare, under mirrord, and under what it is compared to; nothing runs without a time-out."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).parents[1]
WORK: Final = ROOT / ".build" / "bench"
MIRRORD: Final = str(ROOT / ".venv" / "bin" / "mirrord")
UNDER_MIRRORD: Final = (MIRRORD, "exec", "-q", "-t", "sandbox", "--")
TRACED: Final = "mirrord, --engine ptrace"
UNDER_PTRACE: Final = (*UNDER_MIRRORD[:-1], "--engine", "ptrace", "--")
IN_CLUSTER: Final = (MIRRORD, "sandbox", "run", "--")
PYTHON: Final = os.path.realpath(sys.executable)
_PROGRAMS: Final = Path(__file__).parent / "programs"


class BenchError(Exception):
    """Raised when something cannot be measured; says why."""


def run(line: Sequence[str], *, timeout: float = 60, env: Mapping[str, str] | None = None) -> str:
    """Return what a command printed; raise BenchError when it fails or takes too long."""
    with started(line, env=env) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise BenchError(f"not done after {timeout} s: {' '.join(line)}") from None
        if process.returncode:
            raise BenchError(f"{' '.join(line)}: exit code {process.returncode}\n{err}")
        return out


@contextlib.contextmanager
def started(line: Sequence[str], *, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a group of its own; end it if it still runs after."""
    with subprocess.Popen(
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        cwd=ROOT,
        process_group=0,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                # mirrord ends its session when its front dies
                os.killpg(process.pid, signal.SIGKILL)


def output_of(process: subprocess.Popen[str]) -> IO[str]:
    """Return where a started command's lines are read."""
    assert process.stdout is not None
    return process.stdout


def input_of(process: subprocess.Popen[str]) -> IO[str]:
    """Return where a started command is told to go on."""
    assert process.stdin is not None
    return process.stdin


def strace(*calls: str) -> tuple[str, ...]:
    """Return the command that traces these calls only, as quickly as strace can."""
    return (tool("strace"), "--seccomp-bpf", "-f", "-o", os.devnull, "-e", f"trace={','.join(calls)}")


def proot() -> tuple[str, ...]:
    """Return the command that translates every path."""
    return (tool("proot"), "-b", "/:/")


def floor(*calls: str) -> tuple[str, ...]:
    """Return the command that traps these calls and has the kernel run them: the least that a trap costs."""
    return (compiled("floor"), ",".join(calls))


def tool(name: str) -> str:
    """Return the path of a command; raise BenchError if the machine has none."""
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"{name} is not installed")
    return path


def compiled(name: str) -> str:
    """Return one of our C programs, compiled if its source is newer."""
    source, made = _PROGRAMS / f"{name}.c", WORK / name
    WORK.mkdir(parents=True, exist_ok=True)
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        run([tool("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", str(made), str(source)])
    return str(made)


def local_file() -> str:
    """Return the path of a file that is decided to be local."""
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / "file"
    path.write_text("a local file\n")
    return str(path)


def client(*arguments: str) -> list[str]:
    """Return the command line of our network program."""
    return [PYTHON, "-I", "-S", str(_PROGRAMS / "client.py"), *arguments]


def server() -> str:
    """Return the path of our HTTP server."""
    return str(_PROGRAMS / "server.py")
