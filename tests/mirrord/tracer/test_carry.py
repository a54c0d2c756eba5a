import errno
import os
import signal
import struct

import pytest

from mirrord.syscall import Call, GiveFd, Return, Verdict
from mirrord.tracer.borrowed import Borrowed
from mirrord.tracer.rewrite import Rewrite

from ...support.processes import state
from ...support.waiting import until
from .puppet import nr, traced


def test_results_are_written_as_the_kernel_would() -> None:
    """Through process_vm_writev, which minds the protection of a page; /proc/PID/mem does not."""
    with traced(fsync=lambda call: Return(3, ((call.args[0], b"abc"),))) as program:
        at = program.puppet("page(b'-' * 20)")
        assert program.call("fsync", at) == 3
        assert program.puppet(f"ctypes.string_at({at}, 4)") == b"abc-"
        program.puppet(f"libc.mprotect(ctypes.c_void_p({at}), 4096, 1)")
        assert program.call("fsync", at) == -errno.EFAULT
        assert program.call("fsync", 0) == -errno.EFAULT
        assert program.puppet(f"ctypes.string_at({at}, 4)") == b"abc-"


def test_a_signal_that_comes_while_a_descriptor_is_given_is_not_lost() -> None:
    def handler(call: Call) -> Verdict:
        os.kill(call.tid, signal.SIGUSR1)
        os.kill(call.tid, signal.SIGSTOP)
        os.kill(call.tid, signal.SIGCONT)
        return GiveFd(os.open(os.devnull, os.O_RDONLY), False)

    with traced(fsync=handler) as program:
        program.puppet("[signal.signal(signal.SIGUSR1, lambda *_: kept.append(1))] and None")
        for count in range(1, 11):
            fd = program.call("fsync", 1000)
            assert fd >= 3
            assert program.puppet("len(kept)") == count
            program.puppet(f"os.close({fd})")


def test_a_stop_that_comes_to_a_thread_then_is_the_processs() -> None:
    """SIGSTOP cannot be blocked; it is the process that it stops, whichever of its threads takes it."""

    def handler(call: Call) -> Verdict:
        os.kill(call.tid, signal.SIGSTOP)
        return GiveFd(os.open(os.devnull, os.O_RDONLY), False)

    with traced(fsync=handler) as program:
        program.puppet("done = []")
        code = f"threading.Thread(target=lambda: done.append(call({nr('fsync')}, 1000)))"
        program.puppet.tell(f"[one.start() or one.join() for one in [{code}]] and done")
        until("it is stopped", lambda: state(program.puppet.pid) == "t")
        stopped = (program.puppet.pid, signal.SIGSTOP << 8 | 0x7F)
        until("that is reported", lambda: stopped in program.reports)
        os.kill(program.puppet.pid, signal.SIGCONT)
        (fd,) = program.puppet.hear()
        assert fd >= 3


def test_a_stop_that_is_over_by_then_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that was kept back would come after the SIGCONT that has ended it, and last for ever."""

    def handler(call: Call) -> Verdict:
        os.kill(call.tid, signal.SIGSTOP)
        return GiveFd(os.open(os.devnull, os.O_RDONLY), False)

    def then_continued(thread: Borrowed, number: int, *arguments: int) -> int:
        result = call(thread, number, *arguments)
        os.kill(thread.tid, signal.SIGCONT)
        return result

    call = Borrowed.call
    monkeypatch.setattr(Borrowed, "call", then_continued)
    with traced(fsync=handler) as program:
        for _ in range(5):
            assert program.call("fsync", 1000) >= 3


@pytest.mark.parametrize("signals", [0, 5])
def test_a_call_runs_with_another_argument(signals: int) -> None:
    def handler(call: Call) -> Verdict:
        for _ in range(signals):
            os.kill(call.tid, signal.SIGUSR1)
        return Rewrite(0, 0o42)

    with traced(umask=handler) as program:
        program.puppet("[signal.signal(signal.SIGUSR1, lambda *_: kept.append(1))] and None")
        assert program.call("umask", 0o7) in range(0o1000)
        assert [program.call("umask", 0o7) for _ in range(3)] == [0o42] * 3
        assert len(program.calls) == 4


def test_an_argument_in_memory_is_changed_in_a_copy() -> None:
    with traced(nanosleep=lambda call: Rewrite(0, struct.pack("=qq", 0, 1))) as program:
        at = program.puppet("page(bytes(8) + b'\\xff' * 8)")
        program.puppet(f"libc.mprotect(ctypes.c_void_p({at}), 4096, 1)")
        for _ in range(3):
            assert program.call("nanosleep", at, 0) == 0, "natively EINVAL: so many nanoseconds are no time"
        assert program.puppet(f"ctypes.string_at({at}, 16)") == bytes(8) + b"\xff" * 8
        assert len(program.calls) == 4, "once more the first time, since a page had to be mapped"


def test_a_page_that_cannot_be_mapped_is_the_calls_error() -> None:
    with traced(nanosleep=lambda call: Rewrite(0, struct.pack("=qq", 0, 1))) as program:
        program.puppet("import resource; resource.setrlimit(resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))")
        assert program.call("nanosleep", 0, 0) == -errno.ENOMEM
