"""Run a command as a child, as if the shell had run it itself: terminal, signals, exit code and death by
signal.
"""

import fcntl
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from mirrord.errors import EXIT_MIRRORD, EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND
from mirrord.targets.sandbox import linux

_PASSED_ON: Final = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
_AWAITED: Final = {signal.SIGCHLD, signal.SIGIO, *_PASSED_ON}
_SI_KERNEL: Final = 0x80


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute, with which variables, and where."""

    argv: list[str]
    environment: Mapping[str, str]
    directory: str


def run(command: Command, sandbox: socket.socket) -> int:
    """Run a command in this process's namespaces, without capabilities, and return how it ended (waitpid(2)).

    It is killed when ``sandbox``, the connection to the supervisor, is closed at the other end: with it went
    the network. Returns the status of having been killed then.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    fcntl.fcntl(sandbox, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sandbox, fcntl.F_SETFL, os.O_ASYNC)
    parent = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid == 0:
        _execute(command, before, parent)
    try:
        return _wait(pid, sandbox)
    finally:
        os.close(parent)
        _take_terminal_back()
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _execute(command: Command, mask: set[int], parent: int) -> NoReturn:
    try:
        linux.drop_capabilities()
        linux.die_with_parent(signal.SIGKILL)
        if select.select([parent], [], [], 0)[0]:
            os._exit(EXIT_MIRRORD)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # Python's own; a program expects to be killed by them.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(command.directory)
        os.execvpe(command.argv[0], command.argv, command.environment)
    except FileNotFoundError:
        _fail(f"{command.argv[0]} was not found in the sandbox", EXIT_NOT_FOUND)
    except OSError as error:
        _fail(f"{command.argv[0]} cannot be executed: {error.strerror}", EXIT_NOT_EXECUTABLE)
    finally:
        os._exit(EXIT_MIRRORD)


def _fail(problem: str, status: int) -> NoReturn:
    os.write(2, f"mirrord: {problem}\n".encode(errors="surrogateescape"))
    os._exit(status)


def _wait(pid: int, sandbox: socket.socket) -> int:
    while True:
        information = signal.sigwaitinfo(_AWAITED)
        if information.si_signo == signal.SIGIO:
            _end_with(sandbox, pid)
        elif information.si_signo != signal.SIGCHLD:
            # What the terminal sends, the kernel sends: to the command as well, in the same process group.
            if information.si_code != _SI_KERNEL:
                os.kill(pid, information.si_signo)
            continue
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status


def _end_with(sandbox: socket.socket, pid: int) -> None:
    """Kill the command if the sandbox is gone."""
    with suppress(BlockingIOError):
        if not sandbox.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            print("mirrord: the sandbox has ended, and the command with it", file=sys.stderr)
            os.kill(pid, signal.SIGKILL)


def _take_terminal_back() -> None:
    """Be in the terminal's foreground again: a shell in another PID namespace cannot give it back."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        try:
            ignored = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(terminal, os.getpgrp())
            signal.signal(signal.SIGTTOU, ignored)
        finally:
            os.close(terminal)


def pass_on(status: int) -> int:
    """Return the exit code of a status; a death by signal is died again."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    return os.waitstatus_to_exitcode(status) % 256
