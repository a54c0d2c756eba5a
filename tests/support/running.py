"""Runs commands as a user and tells what came of them."""

import contextlib
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest

from .build import ROOT
from .needs import tool
from .user import User

_LARGEST: Final = 800_000
"""Below the limit that the kernel gives everybody (RLIMIT_MSGQUEUE, getrlimit(2))."""
_LINE: Final = re.compile(r"^mirrord: the agent answered: (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command wrote and how it ended."""

    code: int
    """Its exit code, or minus the signal that killed it."""
    out: str
    err: str

    @property
    def statistics(self) -> dict[str, int]:
        """Return how many requests of each kind the agent answered."""
        return statistics(self.err)

    @property
    def lines(self) -> list[str]:
        """Return what it wrote to its standard output; fail unless it succeeded."""
        if self.code != 0:
            pytest.fail(f"exit code {self.code}\n{self.out}{self.err}", pytrace=False)
        return self.out.splitlines()


def statistics(stderr: str) -> dict[str, int]:
    """Parse the line that ``mirrord exec -v`` ends with."""
    if (found := _LINE.search(stderr)) is None:
        pytest.fail(f"no line about what the agent answered in:\n{stderr}")
    pairs = (pair.rsplit(" ", 1) for pair in found[1].split(", "))
    return {name: int(count) for name, count in pairs}


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs commands as one user, in processes that carry a mark.

    The mark is a resource limit that nothing here uses or changes: unlike a variable, every descendant has
    it, whatever environment it was given.
    """

    user: User
    mark: int = field(default_factory=lambda: 1 + secrets.randbelow(_LARGEST))

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables for a command."""
        return {**self.user.environment(), **(extra or {})}

    def prefix(self) -> list[str]:
        """Return what goes before a command line to have it run as the user, with the mark."""
        return [tool("prlimit"), f"--msgqueue={self.mark}", *self.user.prefix]

    def run(
        self,
        line: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60,
    ) -> Outcome:
        """Run a command to its end."""
        with self.start(line, env=env, reads=input is not None) as process:
            try:
                out, err = process.communicate(input, timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                pytest.fail(f"{line} was not done after {timeout} s:\n{out}{err}")
            return Outcome(process.returncode, out, err)

    @contextlib.contextmanager
    def start(
        self, line: Sequence[str], *, env: Mapping[str, str] | None = None, reads: bool = True
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a command in a process group of its own; kill it in the end if it still runs."""
        process = subprocess.Popen(
            [*self.prefix(), *line],
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(env),
            cwd=ROOT,
            process_group=0,
            encoding="utf-8",
            errors="surrogateescape",
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a command prints; fail if it ends instead."""
    assert process.stdout is not None
    if not (text := process.stdout.readline()):
        pytest.fail(f"the program ended: {process.communicate()[1]}")
    return text.rstrip("\n")


def write(process: subprocess.Popen[str], text: str) -> None:
    """Give a command something to read."""
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def end_input(process: subprocess.Popen[str]) -> None:
    """End what a command reads."""
    assert process.stdin is not None
    process.stdin.close()
