"""The actions of ``mirrord sandbox``."""

import os
import signal
from collections.abc import Mapping
from typing import Final

from mirrord.errors import TargetError
from mirrord.targets.sandbox import child, enter, launch, registry
from mirrord.targets.sandbox.contract import HOSTNAME, PodSpec
from mirrord.targets.sandbox.control import Processes

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOME: Final = "/app"
_ENDS: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def up(*, name: str, hostname: str | None, env: Mapping[str, str], files: Mapping[str, str]) -> int:
    """Keep a sandbox under a name until SIGINT, SIGTERM or SIGHUP, and return 0; raises UsageError,
    TargetError.
    """
    spec = PodSpec(hostname or HOSTNAME, dict(env), dict(files))
    listener, path = registry.listen(registry.checked(name))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    sandbox = launch.make(spec, listener=listener, listener_path=path)
    try:
        sandbox.connection.processes()
        listener.close()
        print(_greeting(name, spec.hostname), flush=True)
        _until_over(sandbox)
    finally:
        sandbox.close()
        registry.forget(name)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _greeting(name: str, hostname: str) -> str:
    target, flag = ("sandbox", "") if name == registry.DEFAULT else (f"sandbox/{name}", f" --name {name}")
    return f"""\
sandbox {name} is up: pod {hostname}; Ctrl-C ends it
  mirrord exec -t {target} -- PROGRAM     runs a program of this machine as if in the pod
  mirrord sandbox exec{flag} -- COMMAND   runs a command in the pod
  mirrord sandbox run{flag} -- COMMAND    runs a command in the cluster's network, as another pod"""


def _until_over(sandbox: launch.PrivateSandbox) -> None:
    """Wait for a signal; raises TargetError if the sandbox ends before."""
    # SIGCHLD, unlike a wait for the process, comes together with the others.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while signal.sigwait({*_ENDS, signal.SIGCHLD}) == signal.SIGCHLD:
        if sandbox.has_ended():
            raise TargetError("the sandbox has ended")


def exec_(name: str, argv: list[str]) -> int:
    """Run a command in the pod of a sandbox and return its exit code; raises UsageError, TargetError."""
    with launch.joined(registry.checked(name)) as connection:
        processes = connection.processes()
        directory = enter.working_directory()
        command = child.Command(argv, _pod_environment(processes), directory or "/")
        enter.enter_pod(processes, _visible(directory, argv[0]))
        status = child.run(command, connection.socket)
    return child.pass_on(status)


def _pod_environment(processes: Processes) -> dict[str, str]:
    """Return the variables of the pod's main process, and the few that a command needs besides."""
    with open(f"/proc/{processes.pod}/environ", "rb") as file:
        pairs = (item.partition(b"=") for item in file.read().split(b"\0") if item)
        own = {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}
    terminal = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
    return {"PATH": _PATH, "HOME": _HOME, **terminal, **own}


def _visible(directory: str | None, program: str) -> tuple[str, ...]:
    """Return the directories of this machine that a command in the pod is to see."""
    paths = [] if directory is None else [directory]
    if "/" in program and os.path.exists(program):
        paths.append(os.path.dirname(os.path.abspath(program)))
    return tuple(paths)


def run(name: str, argv: list[str]) -> int:
    """Run a command of this machine in a sandbox's cluster network; returns its exit code; raises UsageError,
    TargetError.
    """
    with launch.joined(registry.checked(name)) as connection:
        command = child.Command(argv, dict(os.environ), enter.working_directory() or "/")
        enter.enter_cluster(connection.processes())
        status = child.run(command, connection.socket)
    return child.pass_on(status)
