"""Entering a sandbox with a command: the pod's namespaces, or the network of the cluster's side.

The caller of these functions is the process that the user started, and stays the command's parent, so that terminal, job control and
exit status are native. It may be any process of the sandbox's user: the owner of a user namespace has all capabilities over it
(user_namespaces(7)). The command gets none of them, for executing without being user 0 drops them.
"""

import contextlib
import errno
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from mirrord.errors import MirrordError, ProgramNotExecutable, ProgramNotFound, TargetError
from mirrord.targets.sandbox import content, kernel, privileges, rootfs
from mirrord.targets.sandbox.client import Sandbox
from mirrord.targets.sandbox.waiting import Waiter

_PR_SET_CHILD_SUBREAPER: Final = 36
_PATH: Final = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOME: Final = b"/app"
_NAME_DAEMONS: Final = ("/run/systemd/resolve", "/run/nscd", "/var/run/nscd")
"""Where resolvers meet local daemons, which would answer with the machine's names."""

Environment = Mapping[bytes, bytes]


def run_in_pod(sandbox: Sandbox, argv: Sequence[str]) -> int:
    """Run a command in the pod and return its wait status; raise LaunchError or TargetError.

    The directories that it is started from are visible to it, read-only, so that what one is building can be tried in the pod.
    Enters the sandbox's user namespace for good: do nothing else after.
    """
    greeting = sandbox.greeting()
    environment = _pod_environment(greeting.pod)
    here, shown = _current_directory(), _shown_directories(argv[0])
    pod = os.pidfd_open(greeting.pod)
    kernel.setns(pod, kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID)

    def enter() -> Environment:
        _enter_pod(pod, shown)
        _change_directory(here)
        return environment

    return _run(sandbox, argv, enter)


def run_in_cluster(sandbox: Sandbox, argv: Sequence[str]) -> int:
    """Run a command with the machine's files in the cluster's network, as another pod; return its wait status.

    Raises LaunchError or TargetError.
    """
    supervisor = os.pidfd_open(sandbox.greeting().supervisor)

    def enter() -> Environment:
        kernel.setns(supervisor, kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
        kernel.unshare(kernel.CLONE_NEWNS)
        _cover_resolver()
        return os.environb

    return _run(sandbox, argv, enter)


def _run(sandbox: Sandbox, argv: Sequence[str], enter: Callable[[], Environment]) -> int:
    waiter = Waiter()
    failed, fail = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    # Orphans of the command come to us, so that we can end them if the sandbox ends first.
    privileges.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    pid = os.fork()
    if pid == 0:
        _become(argv, enter, waiter, parent=parent, fail=fail)
    os.close(fail)
    with open(failed, "rb") as pipe:
        report = pipe.read()
    if report:
        os.waitpid(pid, 0)
        raise _failure(argv[0], *json.loads(report))
    _ask_for_sigio(sandbox)
    return waiter.wait(pid, on_io=lambda: _end_with(sandbox))


def _become(
    argv: Sequence[str], enter: Callable[[], Environment], waiter: Waiter, *, parent: int, fail: int
) -> NoReturn:
    """Be the command; report what is in the way on ``fail``, which executing closes."""
    stage = "enter"
    try:
        privileges.die_with_parent(parent, signal.SIGKILL)
        environment = enter()
        waiter.release()
        stage = "execute"
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(fail, json.dumps([stage, error.errno, str(error)]).encode())
    finally:
        os._exit(MirrordError.exit_code)


def _failure(program: str, stage: str, number: int, text: str) -> MirrordError:
    if stage == "enter":
        return TargetError(f"the sandbox could not be entered: {text}")
    if number in (errno.ENOENT, errno.ENOTDIR):
        return ProgramNotFound(f"there is no program {program} in the sandbox")
    return ProgramNotExecutable(f"{program} cannot be executed in the sandbox: {os.strerror(number)}")


def _pod_environment(pod: int) -> Environment:
    entries = Path(f"/proc/{pod}/environ").read_bytes().split(b"\0")
    environment = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
    terminal = {b"TERM": value for value in [os.environb.get(b"TERM")] if value is not None}
    return {b"PATH": _PATH, b"HOME": _HOME, **terminal, **environment}


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/"


def _shown_directories(program: str) -> list[str]:
    """Return the machine's directories that the command wants to see: where it is started, and where its program is."""
    wanted = {_current_directory()}
    if "/" in program:
        wanted |= {os.path.dirname(os.path.abspath(program)), os.path.dirname(os.path.realpath(program))}
    shown: list[str] = []
    for path in sorted(wanted):
        inside = any(path.startswith(f"{outer}/") for outer in shown)
        if os.path.isdir(path) and not inside and not rootfs.is_pods(path):
            shown.append(path)
    return shown


def _enter_pod(pod: int, shown: Sequence[str]) -> None:
    """Enter the pod's other namespaces with the machine's directories ``shown``, in a mount namespace of our own; raise OSError.

    Their mount points are empty directories in the pod, and stay there: to remove one would take it from other commands too.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    trees = {path: kernel.clone_tree(path, read_only=True) for path in shown}
    kernel.setns(pod, kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWNET)
    kernel.unshare(kernel.CLONE_NEWNS)
    for path, tree in trees.items():
        os.makedirs(path, exist_ok=True)
        kernel.attach_tree(tree, path)


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except FileNotFoundError:
        print(f"mirrord: {path} is not in the sandbox; the command starts in /", file=sys.stderr, flush=True)


def _cover_resolver() -> None:
    """Put the cluster's resolv.conf over the machine's, and hide the daemons that know better; raise OSError."""
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    target = os.path.realpath("/etc/resolv.conf", strict=True)
    tree = _resolv_conf()
    for directory in {os.path.realpath(path) for path in _NAME_DAEMONS if os.path.isdir(path)}:
        kernel.mount("tmpfs", directory, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755")
    if not os.path.exists(target):
        Path(target).touch()
    kernel.attach_tree(tree, target)


def _resolv_conf() -> int:
    """Return a tree that is one file: only files of mounted file systems may be bound, so one is mounted meanwhile."""
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
    try:
        Path("/tmp/resolv.conf").write_bytes(content.resolv_conf())
        return kernel.clone_tree("/tmp/resolv.conf", read_only=True)
    finally:
        kernel.detach("/tmp")


def _ask_for_sigio(sandbox: Sandbox) -> None:
    fd = sandbox.fileno()
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    # It may have ended before we asked.
    if sandbox.has_ended():
        os.kill(os.getpid(), signal.SIGIO)


def _end_with(sandbox: Sandbox) -> None:
    """Kill the command and all its descendants if the sandbox has ended; raise TargetError then."""
    if not sandbox.has_ended():
        return
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in _children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)
    raise TargetError("the sandbox ended")


def _children() -> list[int]:
    """Return our children (/proc/PID/task/TID/children, proc(5)); orphans of theirs among them, for we are their reaper."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
