"""Sandboxes with random values, kept up for a whole test session."""

import contextlib
import secrets
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Final

import pytest

from .processes import marked, name, network
from .running import Runner
from .waiting import until

_SETTLED: Final = 30


def _random(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One that is up, and what makes it different from every other."""

    runner: Runner
    name: str = field(default_factory=lambda: _random("box"))
    hostname: str = field(default_factory=lambda: _random("host"))
    greeting: str = field(default_factory=lambda: _random("greeting"))
    config: str = field(default_factory=lambda: _random("config"))
    _idle: list[int] = field(default_factory=list)

    @property
    def target(self) -> str:
        """What ``-t`` takes."""
        return f"sandbox/{self.name}"

    def command(self, verb: str, *line: str) -> list[str]:
        """Return the command line that runs something in it: ``exec`` in the pod, ``run`` beside it."""
        return [self.runner.user.mirrord, "sandbox", verb, "--name", self.name, "--", *line]

    def processes(self) -> int:
        """Return how many processes it has when nobody uses it: after a session, when that has settled."""
        if not self._idle:
            line = [self.runner.user.mirrord, "exec", "-t", self.target, "-q", "--", "true"]
            Runner(self.runner.user).run(line)
            self._idle.append(_settled(lambda: len(marked(self.runner.mark))))
        return self._idle[0]

    def agents(self) -> list[int]:
        """Return the agents that serve sessions: processes in the pod's network, but not the pod itself."""
        pids = marked(self.runner.mark)
        pods = {network(pid) for pid in pids if name(pid) == "sandbox-pod"}
        return [pid for pid in pids if network(pid) in pods and name(pid) != "sandbox-pod"]

    def pod(self) -> int:
        """Return a process of the pod."""
        return next(pid for pid in marked(self.runner.mark) if name(pid) == "sandbox-pod")

    def _up(self) -> list[str]:
        values = ["--name", self.name, "--hostname", self.hostname, "--env", f"GREETING={self.greeting}"]
        values += ["--file", f"/app/config.yaml={self.config}\n"]
        return [self.runner.user.mirrord, "sandbox", "up", *values]

    @contextlib.contextmanager
    def up(self) -> Iterator["Sandbox"]:
        """Keep it up; it is asked to end, as by Ctrl-C, when the context does."""
        with self.runner.start(self._up(), reads=False) as process:
            _wait_for_ready_line(process)
            yield self
            process.terminate()
            process.communicate(timeout=20)


def _wait_for_ready_line(process: subprocess.Popen[str]) -> None:
    said = b""
    deadline = time.monotonic() + 20
    with selectors.DefaultSelector() as selector:
        for stream in (process.stdout, process.stderr):
            selector.register(_binary(stream), selectors.EVENT_READ)
        while b"is up" not in said:
            if not (ready := selector.select(deadline - time.monotonic())):
                pytest.fail(f"no sandbox after 20 s: {said.decode()}")
            for key, _ in ready:
                # read1 would keep a part in its buffer that select does not see
                data = key.fileobj.raw.read(4096)  # type: ignore[union-attr]
                if not data and process.poll() is not None:
                    pytest.fail(f"no sandbox: {said.decode()}")
                said += data or b""


def _settled(value: Callable[[], int]) -> int:
    """Return a value that has been the same for a while."""
    seen = [value()]

    def same() -> bool:
        seen.append(value())
        return len(seen) > _SETTLED and len(set(seen[-_SETTLED:])) == 1

    until("the sandbox has settled", same)
    return seen[-1]


def _binary(stream: IO[str] | None) -> IO[bytes]:
    assert stream is not None
    return stream.buffer  # type: ignore[attr-defined,no-any-return]
