"""Find out, by trying, whether the notify engine can work here."""

import errno
import os
import platform
import re
import signal
from typing import Final, NoReturn

from mirrord_seccomp import bpf, load
from mirrord_seccomp.notify import NotificationId, Responder
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch

from mirrord.tracer.sys import pidfd_getfd

_FLAGS: Final = load.NEW_LISTENER | load.WAIT_KILLABLE_RECV
_HARMLESS: Final = "fsync"
"""A call that the throw-away process does not make."""
_WORD: Final = 4
_NO_CALL: Final = NotificationId(0)
"""The kernel begins with 1, or anywhere above."""
_RECENT: Final = (5, 19)
"""Linux with all of _FLAGS (seccomp(2))."""


def reason_against_notify() -> str | None:
    """Return why seccomp notifications are not to be had, None where they are; call it while single-threaded.

    A recent kernel has them, and what forbids them is a filter that we are under already: only else it is
    tried, which takes some milliseconds.
    """
    return None if _is_recent() and not _is_filtered() else _tried()


def _is_recent() -> bool:
    release = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
    return release >= _RECENT


def _is_filtered() -> bool:
    with open("/proc/self/status", "rb") as status:
        return b"\nSeccomp:\t0\n" not in status.read()


def _tried() -> str | None:
    """Have a child load a filter, which never comes off."""
    orders, tell = os.pipe()
    hear, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        _try(orders, report, close=(tell, hear))
    os.close(orders)
    os.close(report)
    try:
        return _judge(pid, int.from_bytes(os.read(hear, _WORD), "little", signed=True))
    finally:
        os.close(tell)
        os.close(hear)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def may_duplicate(pid: int) -> bool:
    """Tell whether descriptors of a child of ours may be duplicated; it has none at -1."""
    pidfd = os.pidfd_open(pid)
    try:
        os.close(pidfd_getfd(pidfd, -1))
    except OSError as error:
        return error.errno == errno.EBADF
    finally:
        os.close(pidfd)
    return True


def _judge(pid: int, listener: int) -> str | None:
    if listener <= 0:
        return f"the kernel refuses a seccomp listener: {os.strerror(-listener).lower()}"
    pidfd = os.pidfd_open(pid)
    try:
        taken = pidfd_getfd(pidfd, listener)
    except OSError as error:
        return f"pidfd_getfd(2) is refused: {os.strerror(error.errno or 0).lower()}"
    finally:
        os.close(pidfd)
    try:
        Responder(taken).add_fd(_NO_CALL, taken, cloexec=True, send=True)
    except FileNotFoundError:
        # the kernel has looked for the call
        return None
    except OSError as error:
        return f"the kernel puts no descriptors into a program: {os.strerror(error.errno or 0).lower()}"
    finally:
        os.close(taken)
    return None


def _try(orders: int, report: int, *, close: tuple[int, int]) -> NoReturn:
    try:
        for fd in close:
            os.close(fd)
        os.write(report, _listener().to_bytes(_WORD, "little", signed=True))
        os.read(orders, 1)
    finally:
        os._exit(0)


def _listener() -> int:
    try:
        load.set_no_new_privs()
        return load.load(bpf.compile([Rule(_HARMLESS, Action.NOTIFY)], current_arch()), _FLAGS)
    except OSError as error:
        return -(error.errno or 1)
