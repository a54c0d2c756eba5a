"""The chain of processes of a session: front → keeper → supervisor → program (design 2.3).

* The *front* is what the shell sees. It hands on signals and mirrors the program's stops, its end, and death
  by signal.
* The *keeper* sits in the job's process group with every signal blocked: it witnesses whether a signal that
  reached the front was sent to the whole group, in which case the program has it already.
* The *supervisor* is in a session of its own, so that the terminal's signals miss it, and serves the
  program's calls.
* The *program* is in the job's process group, forked before anything heavy was imported.

All three are subreapers. Whichever of them dies, one that lives ends what is left of the session: half local,
half remote is dangerous.
"""

import os
import signal
import socket
from dataclasses import dataclass
from typing import Final

from mirrord.config.options import ExecOptions
from mirrord.session.directory import SessionDirectory

SIGNALS: Final = signal.valid_signals() - {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
}
STOPS: Final = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGSTOP)

STARTED: Final = "started"
STOPPED: Final = "stopped"
EXITED: Final = "exited"
LEFT: Final = "left"
"""The program has ended, but not all of its descendants have."""
FAILED: Final = "failed"
SIGNAL: Final = "signal"

LET_GO: Final = signal.SIGUSR2
"""What the front sends its keeper, and nobody else, when it returns before the session has ended."""
FRONT_GONE: Final = signal.SIGUSR1
"""What the kernel sends the keeper in the front's name when that has ended."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the shell gave us and the program is to have."""

    mask: set[signal.Signals]
    child_signal: signal.Handlers

    @classmethod
    def take(cls) -> "Inherited":
        """Block all signals for ourselves, and see to it that the ends of children can be waited for."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        ignored = signal.signal(signal.SIGCHLD, signal.SIG_DFL) == signal.SIG_IGN
        return cls({signal.Signals(number) for number in mask}, signal.SIG_IGN if ignored else signal.SIG_DFL)

    def restore(self) -> None:
        """Give it to the process that becomes the program."""
        signal.signal(signal.SIGCHLD, self.child_signal)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


@dataclass(frozen=True, slots=True)
class Chain:
    """What every process of the chain knows."""

    options: ExecOptions
    directory: SessionDirectory
    front: int
    """The process id of the front."""
    inherited: Inherited
    feed: socket.socket | None = None
    """The session's end of a connection to who watches it from the beginning."""

    def let_go_of_feed(self) -> None:
        """Close it in a process that is not the supervisor, so that the watcher sees its end."""
        if self.feed is not None:
            self.feed.close()


def fill_standard_streams() -> None:
    """Open what is closed of standard input, output and error, so that nothing of ours takes their numbers.

    The program does not get these: it sees them closed, as it would have without us.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            # the lowest number that is free, and closed at an execve
            os.open(os.devnull, os.O_RDWR)


def leave_standard_streams(*, error: bool) -> None:
    """Let go of the job's standard input and output, so that a pipe's reader sees its end; of standard error
    only if asked.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, *((2,) if error else ())):
        os.dup2(null, fd)
    os.close(null)


def send(channel: socket.socket, *words: str | int) -> None:
    """Send one message; that the other end is gone shows at the next read."""
    try:
        channel.send(" ".join(str(word) for word in words).encode(), socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError):
        return


def receive(channel: socket.socket) -> list[str]:
    """Return the words of one message, none when the other end is gone."""
    try:
        return channel.recv(4096).decode().split()
    except ConnectionResetError:
        # it was gone before it had read all that we sent
        return []
