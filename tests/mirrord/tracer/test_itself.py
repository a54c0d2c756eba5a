"""A thread that is made to do itself what nobody can do for it, in the place of its call."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mirrord_seccomp.notify import Listener

from mirrord.syscall import Enter, OpenPath, Tid
from mirrord.tracer.call import TrappedCall
from mirrord.tracer.itself import carry_out_itself
from mirrord.tracer.sys import PTRACE_SEIZE, ptrace
from mirrord.tracer.threads import Threads

from .puppet import Puppet, filtered, nr

SYNC = f"call({nr('fsync')}, 1000)"
OPEN_FILES = "sorted(os.listdir('/proc/self/fd'))"


def waiting(puppet: Puppet, listener: Listener) -> TrappedCall:
    """Have the puppet make the call that is answered."""
    puppet.tell(SYNC)
    while not listener.receive():
        pass
    id, tid, _, number, _, _, a0, a1, a2, a3, a4, a5 = listener.notification
    return TrappedCall(id, Tid(tid), number, (a0, a1, a2, a3, a4, a5), Threads(listener.valid, frozenset()))


def directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that we have as many descriptors as before."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def answer(puppet: Puppet, listener: Listener, verdict: Enter | OpenPath) -> int:
    said: list[str] = []
    result = carry_out_itself(listener, waiting(puppet, listener), verdict, warn=said.append)
    assert said == []
    return result


def test_a_directory_is_entered(tmp_path: Path) -> None:
    with filtered("fsync") as (puppet, listener):
        files = puppet(OPEN_FILES)
        with nothing_left():
            assert answer(puppet, listener, Enter(directory(tmp_path))) == 0
        assert puppet.hear() == 0
        assert puppet("os.getcwd()") == str(tmp_path)
        assert puppet(OPEN_FILES) == files


def test_what_may_not_be_entered_is_the_calls_errno(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with filtered("fsync") as (puppet, listener):
        before = puppet("os.getcwd()")
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        assert answer(puppet, listener, Enter(fd)) == -errno.ENOTDIR
        assert puppet.hear() == -errno.ENOTDIR
        assert puppet("os.getcwd()") == before


def test_a_place_is_opened(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with filtered("fsync") as (puppet, listener):
        for cloexec in (True, False):
            with nothing_left():
                result = answer(puppet, listener, OpenPath(directory(tmp_path), b"link", cloexec))
            fd = puppet.hear()
            assert fd == result > 2
            assert puppet(f"os.readlink('/proc/self/fd/{fd}')") == str(tmp_path / "link")
            assert puppet(f"os.get_inheritable({fd})") is not cloexec
            assert puppet(f"os.read({fd}, 1)") == -errno.EBADF
        result = answer(puppet, listener, OpenPath(directory(tmp_path), b"none", True))
        assert result == puppet.hear() == -errno.ENOENT


def test_without_a_number_for_it_the_call_fails(tmp_path: Path) -> None:
    with filtered("fsync") as (puppet, listener):
        puppet("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))")
        with nothing_left():
            assert answer(puppet, listener, Enter(directory(tmp_path))) == -errno.EMFILE
        assert puppet.hear() == -errno.EMFILE


def test_a_thread_that_a_debugger_holds_is_refused(tmp_path: Path) -> None:
    with filtered("fsync") as (puppet, listener):
        call = waiting(puppet, listener)
        child = os.fork()
        if not child:
            _debug(call.tid)
        os.waitid(os.P_PID, child, os.WSTOPPED)
        said: list[str] = []
        with nothing_left():
            result = carry_out_itself(listener, call, Enter(directory(tmp_path)), warn=said.append)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert result == puppet.hear() == -errno.ENOTSUP
        assert len(said) == 1
        assert "debugger" in said[0]


def _debug(tid: int) -> None:
    """Hold a thread, in a process of its own, and say so by stopping."""
    try:
        ptrace(PTRACE_SEIZE, tid)
        os.kill(os.getpid(), signal.SIGSTOP)
    finally:
        os._exit(1)


def test_a_thread_that_is_gone_needs_no_answer(tmp_path: Path) -> None:
    with filtered("fsync") as (puppet, listener):
        call = waiting(puppet, listener)
        os.kill(puppet.pid, signal.SIGKILL)
        os.waitid(os.P_PID, puppet.pid, os.WEXITED | os.WNOWAIT)
        said: list[str] = []
        with nothing_left():
            assert carry_out_itself(listener, call, Enter(directory(tmp_path)), warn=said.append) == 0
        assert said == []
