"""The agents that a supervisor starts: each ready to be asked for, then serving one session."""

import os
import re
import signal
import sys
from typing import Final

from mirrord.errors import TargetError
from mirrord.targets.sandbox import boot, linux

_READY: Final = re.compile(rb"mirrord-agent \S+ ready key=([0-9a-f]{64})\n")
_EXCUSE_SIZE: Final = 2000
_ENVIRONMENT: Final = {"PATH": f"{os.defpath}:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
"""iptables is where an administrator's programs are."""


class Agent:
    """One agent's process; it has all capabilities of the sandbox's user namespace."""

    def __init__(self) -> None:
        """Start its interpreter; needs :func:`linux.keep_capabilities` before. Raises OSError."""
        mine, self._stdin = os.pipe2(os.O_CLOEXEC)
        self.stdout, yours = os.pipe2(os.O_CLOEXEC)
        self._stderr = os.memfd_create("agent-stderr", os.MFD_CLOEXEC)
        self.pid: Final = os.fork()
        if self.pid == 0:
            self._become((mine, yours, self._stderr))
        os.close(mine)
        os.close(yours)
        self._send({"path": sys.path, "module": "mirrord.targets.sandbox.warm", "task": None})

    def _become(self, streams: tuple[int, int, int]) -> None:
        try:
            linux.die_with_parent(signal.SIGKILL)
            for number, fd in enumerate(streams):
                os.dup2(fd, number)
            program = sys.executable
            os.execve(program, [program, "-I", "-S", boot.__file__, "0"], _ENVIRONMENT)
        finally:
            os._exit(1)

    def _send(self, message: object) -> None:
        os.write(self._stdin, boot.encode(message))

    def serve(self, *, target: int, path: str, client_key: str) -> None:
        """Have it serve the process ``target`` at a socket; ``stdout`` then tells when it does."""
        self._send(
            [
                *("--target-pid", str(target), "--listen", f"unix:{path}"),
                *("--client-key", client_key, "--until-stdin-closes"),
            ]
        )

    def key_of(self, line: bytes) -> str:
        """Return its public key, in hex, from the line that says it is ready; raises TargetError."""
        if (match := _READY.fullmatch(line)) is None:
            raise TargetError(f"the sandbox's agent did not start: {self._excuse() or line!r}")
        return match[1].decode()

    def _excuse(self) -> str:
        size = os.fstat(self._stderr).st_size
        text = (
            os.pread(self._stderr, _EXCUSE_SIZE, max(0, size - _EXCUSE_SIZE)).decode(errors="replace").strip()
        )
        return text.splitlines()[-1] if text else ""

    def end(self) -> int:
        """Close its stdin, which ends it, and return a PID descriptor to see to it that it does."""
        for fd in (self._stdin, self.stdout, self._stderr):
            os.close(fd)
        return os.pidfd_open(self.pid)
