"""Wakes the tracer's thread, which waits in ``waitpid`` and for nothing else.

No descriptor tells of a tracee's stop, and a signal to the waiting thread itself is lost if it comes a moment
before the wait. So one more tracee is kept: a process that sleeps. A signal to it is a stop that the wait
reports, whenever it was sent; the tracer resumes it without the signal.
"""

import os
import signal
from typing import Final, NoReturn

from mirrord.tracer.sys import PR_SET_PDEATHSIG, PTRACE_O_EXITKILL, PTRACE_SEIZE, prctl, ptrace

_RING: Final = signal.SIGUSR1
_FIRST_FD: Final = 0


class Bell:
    """One sleeping process; made while there is a single thread, since it is forked."""

    def __init__(self) -> None:
        parent = os.getpid()
        self.pid: Final = os.fork()
        if self.pid == 0:
            _sleep(parent)

    def hang(self) -> None:
        """Become its tracer: from now on this thread's wait hears it. Raise OSError."""
        ptrace(PTRACE_SEIZE, self.pid, 0, PTRACE_O_EXITKILL)

    def ring(self) -> None:
        """Wake the tracer; from any thread, as often as wanted."""
        os.kill(self.pid, _RING)


def _sleep(parent: int) -> NoReturn:
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.closerange(_FIRST_FD, os.sysconf("SC_OPEN_MAX"))
        signal.signal(_RING, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - {_RING})
        while os.getppid() == parent:
            signal.pause()
    finally:
        os._exit(0)
