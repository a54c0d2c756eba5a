import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Final

import pytest
from mirrord_seccomp.notify import Notification

from mirrord.syscall import (
    CONTINUE,
    Call,
    Elsewhere,
    Fail,
    GiveFd,
    Gone,
    Handler,
    Return,
    Skipped,
    Verdict,
    Wait,
)
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.gate import Gate
from mirrord.tracer.threads import Threads

from ...support.waiting import until
from .puppet import Puppet, filtered, nr

FSYNC: Final = "call({}, {{}})".format(nr("fsync"))
NATIVE: Final = -errno.EBADF
"""What the kernel says of the descriptor 1000, which no puppet has."""


@dataclass
class Served:
    """A puppet whose fsync is decided by a handler of the test."""

    puppet: Puppet
    gate: Gate
    held: list[tuple[TrappedCall, Wait]]
    warnings: list[str]
    received: dict[int, Notification]
    calls: list[Call] = field(default_factory=list)

    def fsync(self, *arguments: int) -> int:
        result = self.puppet(FSYNC.format(", ".join(map(str, arguments or (1000,)))))
        assert isinstance(result, int)
        return result


def is_open(fd: int) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}")


@contextmanager
def served(handler: Handler) -> Iterator[Served]:
    """Serve a puppet by a gate on a thread of its own, until the puppet has ended."""
    calls: list[Call] = []

    def counted(call: Call) -> Verdict:
        calls.append(call)
        return handler(call)

    held: list[tuple[TrappedCall, Wait]] = []
    warnings: list[str] = []
    received: dict[int, Notification] = {}
    with filtered("fsync") as (puppet, listener):
        gate = Gate(
            listener,
            {nr("fsync"): counted},
            received,
            hold=lambda call, wait: held.append((call, wait)),
            warn=warnings.append,
        )
        thread = Thread(target=gate.serve)
        thread.start()
        try:
            yield Served(puppet, gate, held, warnings, received, calls)
        finally:
            os.kill(puppet.pid, signal.SIGKILL)
            thread.join(10)
            gate.threads.forget_all()
        assert not thread.is_alive(), "the gate ends with the last process"


def giving(verdict: Verdict) -> Handler:
    return lambda call: verdict


def raising(error: Exception) -> Handler:
    def handler(call: Call) -> Verdict:
        raise error

    return handler


@pytest.mark.parametrize(
    ("verdict", "result"),
    [
        (CONTINUE, NATIVE),
        (Return(0), 0),
        (Return(77), 77),
        (Fail(errno.ECONNREFUSED), -errno.ECONNREFUSED),
        (Fail(errno.EINPROGRESS), -errno.EINPROGRESS),
    ],
)
def test_a_verdict_is_carried_out(verdict: Verdict, result: int) -> None:
    with served(giving(verdict)) as program:
        assert program.fsync() == result
        assert program.fsync() == result
        assert len(program.calls) == 2
        assert program.warnings == []


def test_a_handler_sees_the_call() -> None:
    with served(giving(Return(0))) as program:
        program.fsync(5, 2**40, 3, 4)
        (call,) = program.calls
        assert call.tid == program.puppet.pid
        assert call.args[:4] == (5, 2**40, 3, 4)


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (OSError(errno.ENOENT, "x"), -errno.ENOENT),
        (OSError("without an errno"), NATIVE),
        (Gone(), NATIVE),
    ],
)
def test_an_error_of_a_handler_is_the_calls(error: Exception, result: int) -> None:
    with served(raising(error)) as program:
        assert program.fsync() == result
        assert program.warnings == []


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), AssertionError(), MemoryError(), ValueError("y")])
def test_a_handler_that_fails_lets_the_call_go_on_with_one_line(error: Exception) -> None:
    with served(raising(error)) as program:
        for _ in range(3):
            assert program.fsync() == NATIVE
        assert len(program.calls) == 3
        assert program.warnings == [
            f"warning: system call {nr('fsync')} was left to the kernel: {type(error).__name__}: {error}"
        ]


def test_a_program_elsewhere_runs_locally_with_a_line() -> None:
    with served(raising(Elsewhere("it has a root of its own"))) as program:
        assert program.fsync() == NATIVE
        name = Path(f"/proc/{program.puppet.pid}/comm").read_text().strip()
        who = f"process {program.puppet.pid} ({name})"
        assert program.warnings == [
            f"warning: {who} runs locally, as will others like it: it has a root of its own"
        ]


def test_a_skipped_program_runs_locally_without_a_line() -> None:
    with served(raising(Skipped("x"))) as program:
        assert program.fsync() == NATIVE
        assert program.warnings == []


def test_writes_come_before_the_result() -> None:
    def handler(call: Call) -> Verdict:
        return Return(3, ((call.args[0], b"abc"), (call.args[0] + 10, b"xyz"), (0, b"")))

    with served(handler) as program:
        at = program.puppet("page(b'-' * 20)")
        assert program.fsync(at) == 3
        assert program.puppet(f"ctypes.string_at({at}, 14)") == b"abc-------xyz-"


def test_a_write_that_fails_is_efault() -> None:
    def handler(call: Call) -> Verdict:
        return Return(3, ((call.args[0], b"abc"),))

    with served(handler) as program:
        for at in (0, 1, 2**47, 2**63):
            assert program.fsync(at) == -errno.EFAULT
        constant = program.puppet("page(b'constant')")
        program.puppet(f"libc.mprotect(ctypes.c_void_p({constant}), 4096, 1)")
        assert program.fsync(constant) == -errno.EFAULT
        assert program.warnings == []


@pytest.mark.parametrize("cloexec", [True, False])
def test_a_descriptor_is_given(tmp_path: Path, cloexec: bool) -> None:
    path = tmp_path / "given"
    path.write_text("content")
    ours: list[int] = []

    def handler(call: Call) -> Verdict:
        ours.append(os.open(path, os.O_RDONLY))
        return GiveFd(ours[-1], cloexec)

    with served(handler) as program:
        fd = program.fsync()
        assert os.readlink(f"/proc/{program.puppet.pid}/fd/{fd}") == str(path)
        assert program.puppet(f"os.read({fd}, 100)") == b"content"
        assert program.puppet(f"os.get_inheritable({fd})") is not cloexec
        until("our descriptor is closed", lambda: not is_open(ours[0]))


def test_a_program_without_room_for_a_descriptor_gets_emfile() -> None:
    ours: list[int] = []

    def handler(call: Call) -> Verdict:
        ours.append(os.open(os.devnull, os.O_RDONLY))
        return GiveFd(ours[-1], False)

    with served(handler) as program:
        assert program.puppet("1") == 1, "it has started, which takes descriptors"
        resource.prlimit(program.puppet.pid, resource.RLIMIT_NOFILE, (3, 3))
        assert program.fsync() == -errno.EMFILE
        until("our descriptor is closed", lambda: not is_open(ours[0]))
        assert program.warnings == []


def test_a_descriptor_is_given_together_with_what_is_told_of_it() -> None:
    def handler(call: Call) -> Verdict:
        writes = ((call.args[0], b"first"), (call.args[0] + 8, b"second"))
        return GiveFd(os.open(os.devnull, os.O_RDONLY), True, writes)

    with served(handler) as program:
        page = program.puppet("page(b'')")
        fd = program.fsync(page)
        assert os.readlink(f"/proc/{program.puppet.pid}/fd/{fd}") == os.devnull
        assert program.puppet(f"ctypes.string_at({page}, 14)") == b"first\0\0\0second"


def test_where_it_cannot_be_told_nothing_is_given() -> None:
    ours: list[int] = []

    def handler(call: Call) -> Verdict:
        ours.append(os.open(os.devnull, os.O_RDONLY))
        return GiveFd(ours[-1], True, ((call.args[0], b"x"),))

    with served(handler) as program:
        assert program.puppet("1") == 1, "it has started, which takes descriptors"
        before = len(os.listdir(f"/proc/{program.puppet.pid}/fd"))
        assert program.fsync(8) == -errno.EFAULT
        assert len(os.listdir(f"/proc/{program.puppet.pid}/fd")) == before
        until("closed", lambda: not is_open(ours[0]))


def test_a_descriptor_that_was_not_taken_is_handed_back() -> None:
    back: list[int] = []

    def handler(call: Call) -> Verdict:
        return GiveFd(os.open(os.devnull, os.O_RDONLY), False, refused=back.append)

    with served(handler) as program:
        assert program.puppet("1") == 1, "it has started, which takes descriptors"
        resource.prlimit(program.puppet.pid, resource.RLIMIT_NOFILE, (3, 3))
        assert program.fsync() == -errno.EMFILE
        until("handed back", lambda: back)
        os.close(back[0])


def test_a_call_that_waits_is_handed_over_and_others_go_on() -> None:
    async def never() -> Verdict:
        raise AssertionError

    wait = Wait(never)

    def handler(call: Call) -> Verdict:
        return wait if call.args[0] == 1 else Return(5)

    with served(handler) as program:
        program.puppet(f"threading.Thread(target=lambda: call({nr('fsync')}, 1), daemon=True).start()")
        while not program.held:
            assert program.fsync(2) == 5
        ((call, held),) = program.held
        assert held is wait
        assert call.tid != program.puppet.pid
        assert program.gate._listener.valid(call.id)
        assert program.fsync(2) == 5


def test_the_last_call_of_each_thread_is_known() -> None:
    with served(giving(Return(0))) as program:
        program.fsync(11)
        program.fsync(12)
        notification = program.received[program.puppet.pid]
        assert (notification[3], notification[6]) == (nr("fsync"), 12)


def test_many_processes_are_served() -> None:
    with served(giving(Return(9))) as program:
        forks = f"[os.waitpid(os.fork() or os._exit(call({nr('fsync')}, 1)), 0)[1] >> 8 for _ in range(20)]"
        assert program.puppet(forks) == [9] * 20
        assert len(program.calls) == 20


def test_a_program_that_dies_in_a_call_does_not_stop_the_gate() -> None:

    def handler(call: Call) -> Verdict:
        if call.args[0] == 1:
            os.kill(call.tid, signal.SIGKILL)
        return Return(5, ((call.args[1], b"x"),)) if call.args[1] else Return(5)

    with served(handler) as program:
        at = program.puppet("page(b'x')")
        dying = f"os.waitpid(os.fork() or os._exit(call({nr('fsync')}, 1, {at})), 0)[1]"
        assert program.puppet(dying) == signal.SIGKILL
        assert program.fsync(2, 0) == 5
        assert program.warnings == []


def test_threads_are_looked_at_through_the_listener() -> None:
    with served(lambda call: Return(len(call.read(call.args[0], 4)))) as program:
        at = program.puppet("page(b'abcd')")
        assert program.fsync(at) == 4
        assert isinstance(program.gate.threads, Threads)
        assert program.fsync(1) == -errno.EFAULT
