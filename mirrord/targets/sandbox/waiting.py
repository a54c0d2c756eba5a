"""Waiting for a command as if the shell had started it: its signals, its stops, its exit status."""

import contextlib
import os
import resource
import signal
from collections.abc import Callable
from typing import Final

_FORWARDED: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCONT,
        signal.SIGWINCH,
    }
)
_HELD: Final = _FORWARDED | {signal.SIGCHLD, signal.SIGIO, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
"""Blocked in us, so that none is missed. What the terminal stops is the command, and we follow it."""
_SI_KERNEL: Final = 0x80
"""The origin of what a terminal sends (sigaction(2)); the command is in its process group, and got it too."""


class Waiter:
    """Holds the signals from before the command is forked until it has ended."""

    def __init__(self) -> None:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)

    def release(self) -> None:
        """In the command's process: take signals as we were started to, with what the interpreter ignores at their defaults."""
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def wait(self, pid: int, *, on_io: Callable[[], None]) -> int:
        """Return the wait status of the command when it has ended; call ``on_io`` at each SIGIO."""
        while True:
            information = signal.sigwaitinfo(_HELD)
            number = signal.Signals(information.si_signo)
            if number is signal.SIGCHLD:
                status = _look(pid)
                if status is not None:
                    return status
            elif number is signal.SIGIO:
                on_io()
            elif number in _FORWARDED and information.si_code != _SI_KERNEL:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def _look(pid: int) -> int | None:
    """Return the status of the command if it has ended; stop ourselves if it has stopped."""
    found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
    if found == 0:
        return None
    if os.WIFSTOPPED(status):
        os.kill(os.getpid(), signal.SIGSTOP)
        return None
    return status


def follow(status: int) -> int:
    """Return the exit code of a wait status, or die by the signal that ended the command."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    number = -code
    # The command has written its core, if any; ours would cover it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number
