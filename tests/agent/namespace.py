"""Run a test in a network namespace of its own, as root and as an ordinary user."""

import ctypes
import errno
import functools
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
from mirrord_agent.linux import CLONE_NEWNET, CLONE_NEWUSER

from mirrord.targets.sandbox.netlink import Route

_ORDINARY: Final = 54_321
_PATIENCE: Final = 60
_SKIPPED: Final = 99
"""Seconds after which a test is killed, with what it has forked."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_libc: Final = ctypes.CDLL(None, use_errno=True)


def in_namespace(test: Callable[[], None]) -> Callable[[str], None]:
    """Run the test in a child process within a new network namespace, with the loopback device up."""

    @pytest.mark.parametrize("who", ["root", "ordinary"])
    def run(who: str) -> None:
        if who == "root" and os.getuid():
            pytest.skip("needs root")
        _check(*_forked(functools.partial(_enter_and, test, who)))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.__module__ = test.__module__
    return run


def as_ordinary(test: Callable[[], None]) -> Callable[[], None]:
    """Run the test in a child process of an ordinary user, in the namespaces that there are."""

    @functools.wraps(test)
    def run() -> None:
        def work() -> None:
            _become_ordinary()
            test()

        _check(*_forked(work))

    return run


def unshare(flags: int) -> None:
    """Leave namespaces (unshare(2)); Python has it from 3.12 on."""
    if _libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def fork() -> int:
    """Fork a child that ends with this process."""
    pid = os.fork()
    if pid == 0:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return pid


def loopback_up() -> None:
    """Bring the loopback device of this namespace up."""
    with Route() as route:
        route.set_up("lo")


def add_link_local() -> None:
    """Give the loopback device of this namespace the address fe80::1.

    The kernel makes its routes a moment later (addrconf_dad_work): waited for is what tests do next, a
    connection, which nobody takes yet. Raises TimeoutError.
    """
    with Route() as route:
        route.add_address("lo", ip_address("fe80::1"), prefix=64)
    where = ("fe80::1", 9, 0, socket.if_nametoindex("lo"))
    deadline = time.monotonic() + _PATIENCE / 2
    while True:
        with socket.socket(socket.AF_INET6) as sock:
            if (failure := sock.connect_ex(where)) == errno.ECONNREFUSED:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"fe80::1 cannot be reached: {os.strerror(failure)}")
        os.sched_yield()


def _enter_and(test: Callable[[], None], who: str) -> None:
    if who == "root":
        unshare(CLONE_NEWNET)
    else:
        _become_ordinary()
        uid, gid = os.getuid(), os.getgid()
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
        # where an agent in a pod, which is root, finds iptables
        os.environ["PATH"] += ":/usr/sbin:/sbin"
        # iptables locks a file that only root may open
        os.environ["XTABLES_LOCKFILE"] = os.devnull
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    loopback_up()
    test()


def _become_ordinary() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(_ORDINARY)
        os.setuid(_ORDINARY)
        # else /proc/self is still root's
        _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def _forked(work: Callable[[], None]) -> tuple[int, str]:
    """Do something in a child process; return its wait status and the text of its exception.

    The status of a test that was skipped is :data:`_SKIPPED`, and the text its reason.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(_PATIENCE)
            work()
            status = 0
        except pytest.skip.Exception as reason:
            os.write(writing, str(reason).encode())
            status = _SKIPPED
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    # the text is in the pipe as a whole; what the test has forked may hold the other end still
    os.set_blocking(reading, False)
    try:
        text = os.read(reading, 65_536).decode()
    except BlockingIOError:
        text = ""
    os.close(reading)
    os.close(writing)
    return status, text


def _check(status: int, text: str) -> None:
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _SKIPPED:
        pytest.skip(text)
    if status:
        pytest.fail(text or f"the test's process ended with wait status {status}", pytrace=False)
