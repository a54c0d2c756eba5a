"""Run :mod:`try_syscall` under a filter."""

import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mirrord_seccomp import load
from mirrord_seccomp.bpf import Rule, compile
from mirrord_seccomp.notify import Listener
from mirrord_seccomp.syscalls import current_arch, table

_PROGRAM: Final = str(Path(__file__).with_name("try_syscall.py"))


def command(program: bytes, name: str, *args: int) -> list[str]:
    """Return the command line that performs a call under a filter."""
    call = (table(current_arch())[name].number, *args)
    return [sys.executable, _PROGRAM, program.hex(), *map(str, call)]


def errno_of(rules: Iterable[Rule], name: str, *args: int) -> int:
    """Return the errno with which a call fails under the rules, 0 when it succeeds."""
    line = command(compile(rules, current_arch()), name, *args)
    return subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode


class Supervised:
    """A program that makes one notified call, and the listener of its filter."""

    def __init__(self, process: "subprocess.Popen[bytes]", listener: Listener) -> None:
        self.listener = listener
        self.pid = process.pid
        self._process = process

    def result(self) -> int:
        """Wait for the call to return, and return what it returned; -1 for a failure."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def errno(self) -> int:
        """Let the program end; return the call's errno."""
        self._process.communicate()
        return self._process.returncode

    def kill(self) -> None:
        """Kill the program, and wait for its end."""
        self._process.kill()
        self._process.wait()


@contextmanager
def supervised(
    rules: Iterable[Rule], name: str, *args: int, flags: int = 0, options: Iterable[str] = ()
) -> Iterator[Supervised]:
    """Start a program under the rules that performs one call; kill it at the end."""
    ours, theirs = socket.socketpair()
    line = command(compile(rules, current_arch()), name, *args)
    line += ["--socket", str(theirs.fileno()), "--flags", str(flags | load.NEW_LISTENER), *options]
    with (
        ours,
        subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()]
        ) as process,
    ):
        theirs.close()
        _, fds, _, _ = socket.recv_fds(ours, 16, 1)
        assert fds, "the program could not load the filter"
        listener = Listener(fds[0])
        try:
            yield Supervised(process, listener)
        finally:
            process.kill()
            listener.close()
