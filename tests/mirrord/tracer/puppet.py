"""Programs that do what a test tells them, free or under a filter."""

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Final, Self

from mirrord_seccomp import bpf
from mirrord_seccomp.bpf import Action, Rule
from mirrord_seccomp.notify import Listener
from mirrord_seccomp.syscalls import current_arch, number

from mirrord.syscall import Call, Handler, Verdict, Wait
from mirrord.tracer.bell import Bell
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.launch import launch, launch_traced
from mirrord.tracer.parked import Parked, park
from mirrord.tracer.placing import Placing
from mirrord.tracer.tracing import TRACE, Keep, Tracing

from ...support.waiting import until

PYTHON: Final = os.path.realpath(sys.executable)
_CLONE_VFORK: Final = 0x4000
_SCRIPT: Final = """
import ctypes, mmap, os, signal, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    result = libc.syscall(number, *map(ctypes.c_long, arguments))
    return result if result >= 0 else -ctypes.get_errno()
def page(content=b"", pages=1):
    space = mmap.mmap(-1, pages * 4096)
    space.write(content)
    kept.append(space)
    return ctypes.addressof(ctypes.c_char.from_buffer(space))
kept = []
line = b""
while piece := os.read(0, 1):
    line += piece
    if piece == b"\\n":
        code, line = line.decode(), b""
        try:
            value = eval(code)
        except SyntaxError:
            value = exec(code)
        except OSError as error:
            value = -error.errno
        os.write(1, repr(value).encode() + b"\\n")
"""
COMMAND: Final = [PYTHON, "-I", "-S", "-c", _SCRIPT]


def nr(name: str) -> int:
    """Return the number of a call on this machine."""
    found = number(name, current_arch())
    assert found is not None
    return found


class Puppet:
    """A Python process that runs lines of code, told and heard through two pipes."""

    def __init__(self, pid: int, tell: int, hear: int) -> None:
        self.pid: Final = pid
        self._tell: Final = tell
        self._hear: Final = hear
        self._rest = b""

    def __call__(self, code: str) -> Any:
        """Run one line; return the value of an expression, an errno below 0 for an OSError."""
        self.tell(code)
        return self.hear()

    def tell(self, code: str) -> None:
        """Have a line run, whenever it ends."""
        os.write(self._tell, code.encode() + b"\n")

    def hear(self) -> Any:
        """Wait for the value of the line that was told; raise EOFError when the process has ended."""
        while b"\n" not in self._rest:
            piece = os.read(self._hear, 65_536)
            if not piece:
                raise EOFError
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return ast.literal_eval(line.decode())

    def close(self) -> None:
        for fd in (self._tell, self._hear):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def puppet() -> Iterator[Puppet]:
    """Start a free process; kill it in the end."""
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        try:
            with Puppet(process.pid, os.dup(process.stdin.fileno()), os.dup(process.stdout.fileno())) as made:
                yield made
        finally:
            process.kill()


@contextmanager
def held_up(one: Puppet) -> Iterator[Callable[[], object]]:
    """Have a puppet wait as for a vfork(2), which ptrace(2) cannot interrupt; give what lets it go on.

    It then says a number above 0.
    """
    one("ours, theirs = os.pipe()")
    clone = f"call({nr('clone')}, {_CLONE_VFORK | signal.SIGCHLD}, 0, 0, 0, 0)"
    with open(f"/proc/{one.pid}/fd/{one('theirs')}", "wb", buffering=0) as theirs:
        one.tell(f"{clone} or (os.close(theirs), os.read(ours, 1), os._exit(0))")
        status = Path(f"/proc/{one.pid}/status")
        until("it waits", lambda: "State:\tD" in status.read_text())
        yield lambda: theirs.write(b"x")


def parked(
    *, stdin: int | None = None, stdout: int | None = None, in_child: Callable[[], None] = lambda: None
) -> Parked:
    """Fork a process that becomes a program later, its standard streams set."""

    def prepare() -> None:
        for fd, at in ((stdin, 0), (stdout, 1)):
            if fd is not None:
                os.dup2(fd, at)
        in_child()

    return park([], in_child=prepare)


def start(
    argv: Sequence[str],
    *rules: Rule,
    environment: Mapping[bytes, bytes] | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    in_child: Callable[[], None] = lambda: None,
) -> tuple[int, Listener]:
    """Launch a program under a filter; return its process id and the listener."""
    process = parked(stdin=stdin, stdout=stdout, in_child=in_child)
    filter_ = bpf.compile(rules, current_arch())
    variables = os.environb if environment is None else environment
    listener = launch(process, [os.fsencode(word) for word in argv], variables, filter_)
    return process.pid, Listener(listener)


@contextmanager
def filtered(*names: str) -> Iterator[tuple[Puppet, Listener]]:
    """Start a puppet of which these calls are trapped; kill it in the end."""
    stdin, tell = os.pipe()
    hear, stdout = os.pipe()
    rules = [Rule(name, Action.NOTIFY) for name in names]
    pid, listener = start(COMMAND, *rules, stdin=stdin, stdout=stdout)
    for fd in (stdin, stdout):
        os.close(fd)
    try:
        with Puppet(pid, tell, hear) as made:
            yield made, listener
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        listener.close()


@dataclass
class Traced:
    """A puppet under the ptrace engine."""

    puppet: Puppet
    tracing: Tracing
    held: list[tuple[TrappedCall, Wait]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reports: list[tuple[int, int]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def call(self, name: str, *arguments: int) -> int:
        """Have the puppet make one system call."""
        result = self.puppet(f"call({', '.join(map(str, (nr(name), *arguments)))})")
        assert isinstance(result, int)
        return result


@contextmanager
def traced(
    *, keep: Keep | None = None, placing: Placing | None = None, **handlers: Handler
) -> Iterator[Traced]:
    """Trace a puppet of which these calls are decided by the test; kill it in the end.

    With ``keep`` as where pidfd_getfd(2) is forbidden.
    """
    stdin, tell = os.pipe()
    hear, stdout = os.pipe()
    process, bell = parked(stdin=stdin, stdout=stdout), Bell()
    with Puppet(process.pid, tell, hear) as puppet:
        made: list[Traced] = []
        filter_ = bpf.compile([Rule(name, TRACE) for name in handlers], current_arch())
        thread = Thread(target=_trace, args=(made, puppet, process, bell, filter_, handlers, keep, placing))
        thread.start()
        until("the tracer is there", lambda: made)
        for fd in (stdin, stdout):
            os.close(fd)
        try:
            yield made[0]
        finally:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            thread.join(10)
            made[0].tracing.threads.forget_all()
        assert not thread.is_alive(), "the tracer ends with the last process"
    until("the bell ends with its tracer", lambda: _reaped(bell.pid))


def _trace(
    made: list[Traced],
    puppet: Puppet,
    process: Parked,
    bell: Bell,
    filter_: bytes,
    handlers: Mapping[str, Handler],
    keep: Keep | None,
    placing: Placing | None,
) -> None:
    def counted(handler: Handler) -> Handler:
        def count(call: Call) -> Verdict:
            scene.calls.append(call)
            return handler(call)

        return count

    tracing = Tracing(
        {nr(name): counted(handler) for name, handler in handlers.items()},
        bell,
        hold=lambda call, wait: scene.held.append((call, wait)),
        warn=lambda text: scene.warnings.append(text),
        report=lambda pid, status: scene.reports.append((pid, status)),
        keep=keep,
        placing=placing,
    )
    scene = Traced(puppet, tracing)
    bell.hang()
    launch_traced(process, [os.fsencode(word) for word in COMMAND], os.environb, filter_)
    made.append(scene)
    tracing.serve(process.pid)


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
