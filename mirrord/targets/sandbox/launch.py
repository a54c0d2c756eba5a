"""Make a sandbox, or find one that is up, and ask it for an agent."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import mirrord
from mirrord.errors import TargetError
from mirrord.link.endpoint import AgentEndpoint
from mirrord.targets.sandbox import boot, registry
from mirrord.targets.sandbox.contract import PodSpec
from mirrord.targets.sandbox.control import (
    MAX_LINE,
    AgentReady,
    AskAgent,
    AskProcesses,
    Message,
    Problem,
    Processes,
    decode,
    encode,
)
from mirrord.targets.sandbox.task import CONTROL_FD, SUPERVISOR, Task

_STDIO: Final = (0, 1, 2)
_END_MILLISECONDS: Final = 10_000


class Connection:
    """The socket to a sandbox's supervisor."""

    def __init__(self, control: socket.socket) -> None:
        self.socket: Final = control
        self._received: Final[list[int]] = []
        """Descriptors that came with answers: of the directory of the agents' sockets."""

    def ask(self, request: Message) -> Message:
        """Return the answer to a request; raises TargetError with the problem that it says."""
        # it may have ended before it was asked anything, and has said why then
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(encode(request))
        try:
            line = self._read_line()
        except OSError:
            line = b""
        if not line:
            raise TargetError("the sandbox has ended")
        answer = decode(line)
        if isinstance(answer, Problem):
            raise TargetError(answer.problem, remedy=answer.remedy)
        return answer

    def start_agent(self, client_key: bytes) -> AgentEndpoint:
        """Start an agent that serves only the holder of an Ed25519 key, and return where it is; raises
        TargetError.
        """
        answer = self.ask(AskAgent(client_key.hex()))
        if not isinstance(answer, AgentReady):
            raise TargetError("the sandbox gave a wrong answer")
        if not self._received:
            # it was sent, and the kernel had no number for it (MSG_CTRUNC, recvmsg(2))
            raise TargetError(
                "there is no descriptor left for the way to the sandbox",
                remedy="raise the limit of open files (ulimit -n)",
            )
        path = f"/proc/{os.getpid()}/fd/{self._received[-1]}/{answer.name}"
        return AgentEndpoint(path, bytes.fromhex(answer.key))

    def _read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            part, fds, _, _ = socket.recv_fds(self.socket, MAX_LINE, 1, socket.MSG_CMSG_CLOEXEC)
            self._received.extend(fds)
            if not part:
                return b""
            line += part
        return line

    def processes(self) -> Processes:
        """Return the processes that hold the namespaces, once all is ready; raises TargetError."""
        answer = self.ask(AskProcesses())
        if not isinstance(answer, Processes):
            raise TargetError("the sandbox gave a wrong answer")
        return answer

    def close(self) -> None:
        """End the session; its agents end too."""
        self.socket.close()
        while self._received:
            os.close(self._received.pop())


def _search_path() -> list[str]:
    """Return where modules are found here; ours first, however it was imported."""
    return [str(Path(mirrord.__file__).parent.parent), *(path for path in sys.path if os.path.isabs(path))]


def _spawn(control: socket.socket, listener: socket.socket | None, environment: dict[str, str]) -> int:
    """Start a supervisor's interpreter and return its PID; it inherits two sockets and no terminal."""
    # Out of the way of the numbers that the child is to have.
    fds = [fcntl.fcntl(item, fcntl.F_DUPFD_CLOEXEC, 64) for item in (control, listener) if item is not None]
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", boot.__file__, str(CONTROL_FD)],
            environment,
            file_actions=[
                *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in _STDIO),
                *((os.POSIX_SPAWN_DUP2, fd, CONTROL_FD + number) for number, fd in enumerate(fds)),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        for fd in fds:
            os.close(fd)


class PrivateSandbox:
    """A sandbox that lasts as long as this object, and at most as long as the process that made it."""

    def __init__(
        self, spec: PodSpec, *, listener: socket.socket | None = None, listener_path: str = ""
    ) -> None:
        """Start it, without waiting: what goes wrong is told by the first request. Raises OSError."""
        control, theirs = socket.socketpair()
        with theirs:
            self.pid: Final = _spawn(theirs, listener, spec.environment())
        self._handle: Final = os.pidfd_open(self.pid)
        task = Task(os.getpid(), sys.executable, spec, listener_path)
        message = {"path": _search_path(), "module": SUPERVISOR, "task": task.encode()}
        with contextlib.suppress(BrokenPipeError):
            control.sendall(boot.encode(message))
        self.connection: Final = Connection(control)
        self.label: Final = f"{spec.hostname} (a private sandbox)"

    def start_agent(self, client_key: bytes) -> AgentEndpoint:
        """See :class:`mirrord.targets.base.Target`."""
        return self.connection.start_agent(client_key)

    def has_ended(self) -> bool:
        """Return whether it is over."""
        return bool(select.select([self._handle], [], [], 0)[0])

    def close(self) -> None:
        """End the sandbox and wait until nothing is left of it; may be called again, and by a child."""
        self.connection.close()
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        if not poll.poll(_END_MILLISECONDS):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            poll.poll()
        # A child of the process that made it cannot, and need not, wait for it.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)


class NamedSandbox:
    """A sandbox that is up on its own; this is one session of it."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.connection: Final = connection
        self.label: Final = f"{connection.processes().hostname} (sandbox {name})"

    def start_agent(self, client_key: bytes) -> AgentEndpoint:
        """See :class:`mirrord.targets.base.Target`."""
        return self.connection.start_agent(client_key)

    def close(self) -> None:
        """End the session, not the sandbox."""
        self.connection.close()


def find(name: str) -> NamedSandbox | None:
    """Return a session of the sandbox that is up under a name, or None; raises TargetError."""
    control = registry.connect(name)
    return None if control is None else NamedSandbox(name, Connection(control))


def join(name: str) -> NamedSandbox:
    """Return a session of the sandbox that is up under a name; raises TargetError if there is none."""
    if (found := find(name)) is None:
        raise TargetError(
            f"no sandbox named {name} is up", remedy=f"start it with: mirrord sandbox up --name {name}"
        )
    return found


def join_or_make(name: str = registry.DEFAULT) -> NamedSandbox | PrivateSandbox:
    """Return a session of a sandbox that is up; of the default name, make a private one otherwise. Raises
    TargetError.
    """
    if name != registry.DEFAULT:
        return join(name)
    return find(name) or make(PodSpec())


@contextlib.contextmanager
def joined(name: str) -> Iterator[Connection]:
    """Give a connection to what :func:`join_or_make` returns, for a command."""
    sandbox = join_or_make(name)
    try:
        yield sandbox.connection
    finally:
        sandbox.close()


def make(spec: PodSpec, *, listener: socket.socket | None = None, listener_path: str = "") -> PrivateSandbox:
    """Make a sandbox; raises TargetError."""
    try:
        return PrivateSandbox(spec, listener=listener, listener_path=listener_path)
    except OSError as error:
        raise TargetError(f"the sandbox could not be started: {error}") from error
