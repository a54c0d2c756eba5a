"""Programs that run before mirrord does, and sessions that are attached to them."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .processes import command_line, marked
from .running import Outcome, Runner, end_input, read_line, write
from .sandboxes import Sandbox
from .user import User
from .waiting import until


class Running:
    """A program that looks around for each line that it reads."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.pid = process.pid
        self.port = int(read_line(process).removeprefix("ready "))

    def look(self) -> str:
        """Return what it sees."""
        self.ask()
        return self.read()

    def ask(self) -> None:
        """Have it look around."""
        write(self.process, "l\n")

    def read(self) -> str:
        """Return the next line that it prints."""
        return read_line(self.process)

    def release(self, way: str) -> None:
        """End the call that it is blocked in; time ends some."""
        if way in ("read", "poll", "epoll_wait"):
            write(self.process, "\n")
        elif way == "accept":
            socket.create_connection(("127.0.0.1", self.port)).close()
        elif way == "recvfrom":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", ("127.0.0.1", self.port))

    def filters(self) -> int:
        """Return how many filters it is under."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("Seccomp_filters:")[2].split()[0])

    def end(self) -> None:
        """Let it end; fail if it failed or if it printed anything more."""
        end_input(self.process)
        assert self.process.stdout is not None
        assert self.process.stdout.read() == ""
        assert self.process.wait(20) == 0


@dataclass(slots=True)
class Session:
    """One ``mirrord attach``."""

    process: "subprocess.Popen[str]"
    said: list[str]

    def wait(self) -> None:
        """Wait until it serves, which is what it says last; fail if it ends instead."""
        assert self.process.stderr is not None
        while not any("unchanged: " in line or " is looked at" in line for line in self.said):
            if not (line := self.process.stderr.readline()):
                pytest.fail(f"it ended: {self.said}")
            self.said.append(line)

    @property
    def supervisor(self) -> int:
        """The process that serves."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def keeper(self, runner: Runner) -> int:
        """The process that keeps, an orphan of this one."""
        (found,) = [
            pid
            for pid in marked(runner.mark)
            if pid not in (self.process.pid, self.supervisor) and "mirrord" in command_line(pid)
        ]
        return found

    def victims(self, names: str) -> list[int]:
        """Return the processes called so."""
        known = {"supervisor": self.supervisor, "front": self.process.pid}
        return [known[name] for name in names.split()]

    def interrupt(self) -> Outcome:
        """End it by Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> Outcome:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=20)
        return Outcome(self.process.returncode, out, "".join(self.said) + err)


@dataclass(frozen=True, slots=True)
class Attaching:
    """Starts programs and attaches to them, as one user."""

    user: User
    runner: Runner
    sandbox: Sandbox
    engine: str = "notify"

    @property
    def stays(self) -> int:
        """What stays with a process after its session: a keeper, or nothing."""
        return int(self.engine == "notify")

    @property
    def flags(self) -> Sequence[str]:
        """What names the engine, where it is not the one that is chosen."""
        return [] if self.engine == "notify" else ["--engine", self.engine]

    @contextlib.contextmanager
    def program(self, *line: str) -> Iterator[Running]:
        """Start a program outside of any session."""
        with self.runner.start(line) as process:
            yield Running(process)

    def line(self, pid: int, *flags: str) -> list[str]:
        """Return the command line that attaches."""
        return [self.user.mirrord, "attach", "-v", "-t", self.sandbox.target, *self.flags, *flags, str(pid)]

    @contextlib.contextmanager
    def attached(
        self, pid: int, *flags: str, env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> Iterator[Session]:
        """Attach, and go on when the session serves; ``prefix`` is what runs the command."""
        line = [*prefix, *self.line(pid, *flags)]
        with self.runner.start(line, env=env, reads=False) as process:
            session = Session(process, [])
            session.wait()
            yield session

    @contextlib.contextmanager
    def traced(self, pid: int, *flags: str) -> Iterator[Session]:
        """Look at a process, and go on when all of its calls are seen."""
        line = [self.user.mirrord, "trace", *self.flags, *flags, "--attach", str(pid)]
        with self.runner.start(line, reads=False) as process:
            session = Session(process, [])
            session.wait()
            yield session

    def refused(self, pid: int, *prefix: str) -> str:
        """Attach to what cannot be attached to; return what was said."""
        outcome = self.runner.run([*prefix, *self.line(pid)])
        assert outcome.code == 1, outcome
        return outcome.err.removeprefix("mirrord: ").rstrip("\n")

    def detach(self, pid: int) -> Outcome:
        """End a session by ``mirrord detach``."""
        return self.runner.run([self.user.mirrord, "detach", str(pid)])

    def sessions(self, *arguments: str) -> Outcome:
        """Run ``mirrord sessions``."""
        return self.runner.run([self.user.mirrord, "sessions", *arguments])

    def keepers(self) -> list[str]:
        """Return the sockets of keepers."""
        folder = self.user.runtime / "mirrord"
        return [path.name for path in folder.glob("keeper-*.sock")]


def blocked(pid: int, call: int) -> None:
    """Wait until a program's first thread is in a system call."""
    path = Path(f"/proc/{pid}/syscall")
    until(f"process {pid} is in call {call}", lambda: path.read_text().split()[0] == str(call))


def kill(pid: int) -> None:
    """Kill one process."""
    os.kill(pid, signal.SIGKILL)
