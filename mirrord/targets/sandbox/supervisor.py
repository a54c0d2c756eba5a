"""The process that holds a sandbox together: it makes the namespaces, runs the services and starts agents."""

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from mirrord.errors import TargetError
from mirrord.targets.sandbox import linux, network, userns
from mirrord.targets.sandbox.agents import Agent
from mirrord.targets.sandbox.control import Problem, encode
from mirrord.targets.sandbox.task import CONTROL_FD, LISTENER_FD, Task

if TYPE_CHECKING:
    from mirrord.targets.sandbox.sessions import Sandbox

_KINDS: Final = linux.CLONE_NEWNS | linux.CLONE_NEWNET


def main(value: dict[str, Any]) -> None:
    """Be a supervisor until the control socket is closed, SIGTERM or SIGINT comes, or the pod ends."""
    task = Task.decode(value)
    control = socket.socket(fileno=CONTROL_FD)
    try:
        sandbox = _make(task, control)
    except TargetError as error:
        control.sendall(encode(Problem(error.problem, error.remedy)))
        sys.exit(1)
    sandbox.run()
    # Interpreter shut-down would only take time: all that is left ends with this process.
    os._exit(0)


def _settle(task: Task) -> None:
    """Depend on the creator, and on nothing else that it has."""
    os.closerange((LISTENER_FD if task.listener else CONTROL_FD) + 1, os.sysconf("SC_OPEN_MAX"))
    for fd in (CONTROL_FD, LISTENER_FD) if task.listener else (CONTROL_FD,):
        os.set_inheritable(fd, False)
    os.chdir("/")
    sys.executable = task.executable
    linux.set_name("mirrord-sandbox")
    linux.adopt_orphans()


def _make(task: Task, control: socket.socket) -> "Sandbox":
    _settle(task)
    with userns.explained():
        userns.enter_new(others=_KINDS)
        # Changes of the machine's mounts are seen here, so that they are not kept busy; ours are not seen
        # there.
        linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
    # After the new credentials, which clear it.
    linux.die_with_parent(signal.SIGTERM)
    if os.getppid() != task.creator:
        sys.exit(0)
    linux.keep_capabilities()
    # First of all, because it takes longest.
    agent = Agent()
    return _populate(task, control, agent)


def _populate(task: Task, control: socket.socket, agent: Agent) -> "Sandbox":
    # Imported here, while the agent does its own imports, and before the pod's fork, which needs most of it
    # too.
    from mirrord.targets.sandbox import pod
    from mirrord.targets.sandbox.sessions import Sandbox

    pod.raise_file_limit()
    network.tune(forward=True)
    cluster = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    ours, theirs = socket.socketpair()
    with userns.explained():
        linux.unshare(linux.CLONE_NEWNET)
        pid = pod.start(task.spec, theirs)
        theirs.close()
        network.configure_pod(cluster)
        linux.setns(cluster, linux.CLONE_NEWNET)
        network.configure_cluster()
    os.close(cluster)
    listener = socket.socket(fileno=LISTENER_FD) if task.listener else None
    return Sandbox(
        hostname=task.spec.hostname,
        pod=pid,
        pod_channel=ours,
        control=control,
        listener=listener,
        listener_path=task.listener,
        agent=agent,
    )
