"""What is tried: the kernel's features that the tracer, the link and the sandbox rest on."""

import ctypes
import errno
import os
import platform
import socket
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final

from mirrord_seccomp import bpf, load
from mirrord_seccomp.notify import Listener
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import UnsupportedArch, current_arch

from mirrord.doctor.attaching import try_to_attach
from mirrord.doctor.child import waiting_child
from mirrord.doctor.finding import Attempt, Lacking
from mirrord.errors import MirrordError
from mirrord.link.inodes import has_sock_diag
from mirrord.link.loopback import Loopback, self_test
from mirrord.targets.sandbox import linux, userns
from mirrord.tracer.launch import launch, launch_traced
from mirrord.tracer.parked import park
from mirrord.tracer.probe import reason_against_notify
from mirrord.tracer.sys import PTRACE_DETACH, pidfd_getfd, ptrace
from mirrord.tracer.tracing import TRACE

_YAMA: Final = "/proc/sys/kernel/yama/ptrace_scope"
_TRUE: Final = ([b"true"], {b"PATH": os.defpath.encode()})
_SCOPES: Final = {
    "0": "0: a process may trace others of its user",
    "1": "1: a process may trace its descendants",
    "2": "2: only with CAP_SYS_PTRACE",
    "3": "3: nobody may trace",
}
_PTRACE: Final = "sessions use the engine ptrace: debuggers do not work in them, and a trap takes longer"
_NOT_NEEDED: Final = "not needed by the engine ptrace"
_SECCOMP: Final = "use Linux 5.19 or later; in a container, look at its seccomp profile"


def attempts() -> tuple[Attempt, ...]:
    """Return everything to try, what the rest needs first."""
    return (
        Attempt("system calls of this machine", _architecture, "mirrord does not run here"),
        Attempt("traps (seccomp notifications)", _notifications, _PTRACE, needed=False, remedy=_SECCOMP),
        Attempt(
            "traps that signals leave alone",
            _killable,
            _PTRACE,
            needed=False,
            remedy="use Linux 5.19 or later",
        ),
        Attempt(
            "quick traps (synchronous wake-ups)",
            _sync_wake_up,
            "a trap takes some 50 µs instead of 6 where there are several CPUs",
            needed=False,
            remedy="use Linux 6.6 or later",
        ),
        Attempt(
            "another process's descriptors (pidfd_getfd)",
            _pidfd_getfd,
            _PTRACE,
            needed=False,
            remedy="in a container, allow pidfd_getfd in its seccomp profile, or add CAP_SYS_PTRACE",
        ),
        Attempt(
            "descriptors for the program (ADDFD)",
            _add_fd,
            _PTRACE,
            needed=False,
            remedy=_SECCOMP,
        ),
        Attempt(
            "filters for every thread (TSYNC)",
            _tsync,
            "`mirrord attach` cannot be used",
            needed=False,
            remedy="use Linux 5.7 or later",
        ),
        Attempt("tracing (Yama's ptrace_scope)", _yama, "no program can be brought under a session"),
        Attempt(
            "launching a program",
            _launch,
            "no program can be run",
            remedy="look at the lines above",
        ),
        Attempt(
            "attaching to a process that runs",
            _attach,
            "`mirrord attach` cannot be used",
            needed=False,
            remedy="look at the lines above; mirrord attach --engine ptrace needs no listener",
        ),
        Attempt("the engine of sessions", _engine, "no program can be run"),
        Attempt(
            "pending connects (simultaneous open on lo)",
            _held_connect,
            "a connect waits for the pod even if it is non-blocking",
            needed=False,
        ),
        Attempt("IPv6", _ipv6, "IPv6 addresses of the pod cannot be reached", needed=False),
        Attempt(
            "the kernel's list of sockets (sock_diag)",
            _sock_diag,
            "a program's connects to itself take milliseconds",
            needed=False,
            remedy="load the modules inet_diag, tcp_diag and udp_diag",
        ),
        Attempt(
            "the sandbox (user namespaces)", _user_namespaces, "`-t sandbox` cannot be used", needed=False
        ),
        Attempt(
            "stealing in the sandbox (nf_tables)",
            _nf_tables,
            "`--steal` in the sandbox needs iptables, whose rules a watchdog takes back",
            needed=False,
            remedy="load the modules nf_tables, nft_redir and nft_fib_inet",
        ),
    )


def _architecture() -> str:
    try:
        return f"{current_arch().value}, Linux {platform.release()}"
    except UnsupportedArch as error:
        raise Lacking(str(error)) from None


def _listener(flags: int) -> Listener:
    filter_ = bpf.compile([Rule("getppid", Action.NOTIFY)], current_arch())
    load.set_no_new_privs()
    try:
        return Listener(load.load(filter_, load.NEW_LISTENER | flags))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Lacking(
                "this process already has a listener, of another session or of its container",
                "run mirrord outside of it",
            ) from None
        raise


def _notifications() -> str:
    _listener(0)
    return "yes"


def _killable() -> str:
    _listener(load.WAIT_KILLABLE_RECV)
    return "yes"


def _sync_wake_up() -> str:
    if reason_against_notify() is not None:
        return _NOT_NEEDED
    if not _listener(0).sync_wake_up():
        raise Lacking("this kernel is older than Linux 6.6")
    return "yes"


def _pidfd_getfd() -> str:
    with waiting_child() as (child, reading):
        os.close(pidfd_getfd(os.pidfd_open(child), reading))
    return "yes"


def _add_fd() -> str:
    listeners: SimpleQueue[int | OSError] = SimpleQueue()
    answers: SimpleQueue[int] = SimpleQueue()

    def ask() -> None:
        try:
            listeners.put(_listener(0).fd)
        except (OSError, Lacking) as error:
            listeners.put(error if isinstance(error, OSError) else OSError(str(error)))
        else:
            # by ctypes, which lets the other thread run meanwhile
            answers.put(ctypes.CDLL(None).getppid())

    Thread(target=ask, daemon=True).start()
    found = listeners.get()
    if isinstance(found, OSError):
        # there can be no listener, as the line about traps says
        return _NOT_NEEDED
    listener = Listener(found)
    while not listener.receive():
        continue
    given = listener.add_fd(listener.notification[0], found, cloexec=True, send=True)
    if answers.get() != given:
        raise Lacking("the descriptor was given, but not its number")
    return "yes"


def _tsync() -> str:
    # another thread, for it to mean something
    Thread(target=Event().wait, daemon=True).start()
    _listener(load.TSYNC | load.TSYNC_ESRCH)
    return "yes"


def _nf_tables() -> str:
    from mirrord_agent.steal.nftables import Nftables

    try:
        with userns.explained():
            userns.enter_new(others=linux.CLONE_NEWNET | linux.CLONE_NEWNS)
    except MirrordError:
        return "not tried: there can be no sandbox"
    table = Nftables()
    table.redirect(80, to=8080)
    table.close()
    return "yes"


def _yama() -> str:
    scope = _scope()
    if not scope:
        return "this kernel has no Yama"
    if scope == "3" or (scope == "2" and not _may_trace()):
        raise Lacking(_SCOPES.get(scope, scope), "sudo sysctl -w kernel.yama.ptrace_scope=1")
    return _SCOPES.get(scope, scope)


def _scope() -> str:
    try:
        with open(_YAMA) as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _may_trace() -> bool:
    with open("/proc/self/status") as status:
        capabilities = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return bool(capabilities >> 19 & 1)


def _launch() -> str:
    reason = reason_against_notify()
    parked = park([], in_child=lambda: None)
    if reason is None:
        os.close(launch(parked, *_TRUE, _filter(Action.NOTIFY)))
    else:
        launch_traced(parked, *_TRUE, _filter(TRACE))
        ptrace(PTRACE_DETACH, parked.pid)
    _, status = os.waitpid(parked.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise Lacking(f"the program was started, and ended with {code}")
    return "yes" if reason is None else f"yes, by the engine ptrace, since {reason}"


def _engine() -> str:
    reason = reason_against_notify()
    if reason is None:
        return "notify, as it is the quicker one and leaves the program to debuggers"
    return f"ptrace, since {reason}"


def _filter(action: Action) -> bytes:
    return bpf.compile([Rule("getppid", action)], current_arch())


def _attach() -> str:
    found = try_to_attach()
    return f"{found}; to a child" if _scope() not in ("", "0") and not _may_trace() else found


def _held_connect() -> str:
    loopback = Loopback()
    try:
        if not self_test(loopback):
            raise Lacking("a connect cannot be held and completed here")
    finally:
        loopback.close()
    return "yes"


def _ipv6() -> str:
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
    return "yes"


def _sock_diag() -> str:
    if not has_sock_diag():
        raise Lacking("it is not there")
    return "yes"


def _user_namespaces() -> str:
    with userns.explained():
        userns.enter_new(others=linux.CLONE_NEWNET | linux.CLONE_NEWNS)
    return "yes"
