"""Starting and ending the sandbox's processes."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

_STANDARD: Final = 3
"""stdin, stdout and stderr."""


def settle(*, keep: Sequence[int]) -> None:
    """Make a forked process one of its own: no terminal, no inherited handler, no descriptor but ``keep`` and stderr.

    Descriptors are replaced rather than closed: objects of the creator's may still close them by number, and would hit ours.
    """
    os.setsid()
    os.chdir("/")
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    # A client that is gone is an error of its connection, not our end.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd not in (2, nothing, *keep):
            _replace(nothing, fd)


def _replace(nothing: int, fd: int) -> None:
    # The directory that was being listed is in its own list, and closed by now.
    with contextlib.suppress(OSError):
        os.fstat(fd)
        os.dup2(nothing, fd, inheritable=fd < _STANDARD)


def execute_python(code: str, environment: Mapping[str, str], *, isolated: bool) -> None:
    """Become a new interpreter that runs ``code``; raise OSError. An isolated one knows our modules, but no site and no variables."""
    if isolated:
        code = f"import sys; sys.path[:] = {json.dumps(sys.path)}; {code}"
    flags = ("-I", "-S") if isolated else ("-P",)
    os.execve(sys.executable, (sys.executable, *flags, "-c", code), environment)


def end(pid: int) -> None:
    """Kill our child and wait until it is gone."""
    # Somebody may have waited for it before: the session's supervisor takes in every child that ends.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    reap(pid)


def reap(pid: int) -> int:
    """Wait for our child and return its exit status as a shell has it; 0 if somebody else has waited for it."""
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return 0
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
