import ctypes
import errno
import os
import subprocess
import threading

import pytest

from mirrord.tracer import sys
from mirrord.tracer.sys import (
    PR_SET_CHILD_SUBREAPER,
    PTRACE_CONT,
    pidfd_getfd,
    pidfd_open,
    prctl,
    process_vm_write,
    ptrace,
    thread_group,
)

from .puppet import puppet


def test_a_failed_trace_is_an_oserror() -> None:
    with pytest.raises(OSError) as caught:
        ptrace(PTRACE_CONT, os.getpid())
    assert caught.value.errno == errno.ESRCH


def test_a_failed_prctl_is_an_oserror() -> None:
    with pytest.raises(OSError) as caught:
        prctl(99_999, 0)
    assert caught.value.errno == errno.EINVAL
    prctl(PR_SET_CHILD_SUBREAPER, 0)


def test_a_descriptor_of_another_process() -> None:
    with puppet() as program:
        pidfd = pidfd_open(program.pid)
        theirs = program("os.open('/usr', os.O_RDONLY)")
        ours = pidfd_getfd(pidfd, theirs)
        assert os.readlink(f"/proc/self/fd/{ours}") == "/usr"
        assert not os.get_inheritable(ours)
        for fd in (99, -1):
            with pytest.raises(OSError) as caught:
                pidfd_getfd(pidfd, fd)
            assert caught.value.errno == errno.EBADF
    os.close(ours)
    os.close(pidfd)


def test_no_process() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    for act in (pidfd_open, thread_group, lambda pid: process_vm_write(pid, 4096, b"x")):
        with pytest.raises((ProcessLookupError, FileNotFoundError)):
            act(process.pid)


def test_the_process_of_a_thread() -> None:
    seen: list[tuple[int, int]] = []

    def look() -> None:
        tid = threading.get_native_id()
        seen.append((tid, thread_group(tid)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    ((tid, process),) = seen
    assert tid != process == os.getpid() == thread_group(os.getpid())


class Refusing:
    """A C library under a filter."""

    @staticmethod
    def process_vm_writev(*arguments: object) -> int:
        ctypes.set_errno(errno.EPERM)
        return -1


@pytest.mark.parametrize("forbidden", [False, True])
def test_a_write_respects_protection(forbidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if forbidden:
        # as a container's profile does
        monkeypatch.setattr(sys, "_libc", Refusing)
    with puppet() as program:
        at = program("page(b'abc', 2)")
        assert process_vm_write(program.pid, at, b"xyz") == 3
        program(f"libc.mprotect(ctypes.c_void_p({at + 4096}), 4096, 1)")
        assert process_vm_write(program.pid, at + 4094, b"xyz") in (0, 2)
        with pytest.raises(OSError) as caught:
            process_vm_write(program.pid, at + 4096, b"x")
        assert caught.value.errno == errno.EFAULT
