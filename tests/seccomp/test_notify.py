"""A real listener, and a program that makes one call under its filter.

The call is ``fsync`` of a descriptor that is not open (EBADF natively), so that the kernel's answer and ours
can be told apart.
"""

import errno
import os
import resource
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from mirrord_seccomp import load, notify
from mirrord_seccomp.bpf import Action, Rule
from mirrord_seccomp.notify import Listener, NotificationId, Responder
from mirrord_seccomp.syscalls import current_arch, number

from .trying import Supervised, supervised

NOTIFY_FSYNC = [Rule("fsync", Action.NOTIFY)]
WAIT_KILLABLE = load.WAIT_KILLABLE_RECV
pytestmark = [pytest.mark.usefixtures("listeners"), pytest.mark.timeout(20)]


def received(program: Supervised) -> NotificationId:
    """Receive the program's call and return its id."""
    assert program.listener.receive()
    return program.listener.notification[0]


def pending_signals(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))


def test_a_notification_tells_the_call() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000, 1 << 40, 3, 4, 5, 2**64 - 6) as program:
        id = received(program)
        _, tid, flags, nr, arch, ip, *args = program.listener.notification
        assert id > 0
        assert (tid, flags, nr) == (program.pid, 0, number("fsync", current_arch()))
        assert arch == current_arch().audit
        assert ip > 0
        assert args == [1000, 1 << 40, 3, 4, 5, 2**64 - 6]


def test_continue_runs_the_call() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        assert program.listener.send_continue(received(program))
        assert program.errno() == errno.EBADF


@pytest.mark.parametrize("value", [0, 42, 2**63 - 1])
def test_a_value_is_the_result(value: int) -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        assert program.listener.send_value(received(program), value)
        assert program.result() == value


def test_an_errno_fails_the_call() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        assert program.listener.send_errno(received(program), errno.ECONNREFUSED)
        assert program.result() == -1
        assert program.errno() == errno.ECONNREFUSED


@pytest.mark.parametrize("code", [0, -errno.EPERM])
def test_an_errno_is_positive(code: int) -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        id = received(program)
        with pytest.raises(ValueError, match="not an errno"):
            program.listener.send_errno(id, code)
        assert program.listener.valid(id)


def test_an_answer_does_not_carry_on_what_the_one_before_said() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000, options=["--calls", "4"]) as program:
        assert program.listener.send_errno(received(program), errno.EXDEV)
        assert program.result() == -1
        assert program.listener.send_value(received(program), 5)
        assert program.result() == 5
        assert program.listener.send_errno(received(program), errno.EXDEV)
        assert program.result() == -1
        assert program.listener.send_continue(received(program))
        assert program.errno() == errno.EBADF


@pytest.mark.parametrize("cloexec", [True, False])
def test_a_descriptor_is_the_result(cloexec: bool, tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_text("content")
    fd = os.open(path, os.O_RDONLY)
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        there = program.listener.add_fd(received(program), fd, cloexec=cloexec, send=True)
        os.close(fd)
        assert program.result() == there
        assert os.readlink(f"/proc/{program.pid}/fd/{there}") == str(path)
        assert is_cloexec(program.pid, there) is cloexec


def is_cloexec(pid: int, fd: int) -> bool:
    lines = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines()
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
    return bool(flags & os.O_CLOEXEC)


def test_a_descriptor_can_come_before_the_answer(tmp_path: Path) -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program, (tmp_path / "given").open("w") as given:
        id = received(program)
        there = program.listener.add_fd(id, given.fileno(), cloexec=False, send=False)
        assert os.readlink(f"/proc/{program.pid}/fd/{there}") == given.name
        assert program.listener.valid(id)
        assert program.listener.send_value(id, 7)
        assert program.result() == 7


def test_a_descriptor_can_take_a_number(tmp_path: Path) -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program, (tmp_path / "given").open("w") as given:
        id = received(program)
        for _ in range(2):
            assert program.listener.add_fd(id, given.fileno(), cloexec=False, send=False, at=99) == 99
        assert os.readlink(f"/proc/{program.pid}/fd/99") == given.name


def test_who_may_be_outlived_gives_in_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program, (tmp_path / "given").open("w") as given:
        id = received(program)

        def die(*_: object) -> bool:
            os.kill(os.getpid(), signal.SIGKILL)
            return True

        monkeypatch.setattr(Responder, "send_value", die)
        status = in_child(lambda: outlived(program.listener).give(id, given.fileno(), cloexec=True))
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert program.listener.valid(id), "killed between the two, it has not answered"
        monkeypatch.undo()
        there = outlived(program.listener).give(id, given.fileno(), cloexec=True)
        assert program.result() == there
        assert os.readlink(f"/proc/{program.pid}/fd/{there}") == given.name


def outlived(listener: Listener) -> Responder:
    return Responder(listener.fd, outlived=True)


def in_child(action: Callable[[], object]) -> int:
    """Do it in a child, and return the status that it ended with."""
    if (pid := os.fork()) == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_a_descriptor_that_cannot_be_given() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        id = received(program)
        with pytest.raises(OSError, match="Bad file descriptor"):
            program.listener.add_fd(id, 1000, cloexec=True, send=True)
        assert program.listener.valid(id), "the call still waits for its answer"


def test_a_full_descriptor_table_is_emfile() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program, open(os.devnull) as null:
        id = received(program)
        resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (3, 3))
        with pytest.raises(OSError, match="Too many open files"):
            program.listener.add_fd(id, null.fileno(), cloexec=True, send=True)
        assert program.listener.valid(id)
        assert program.listener.send_errno(id, errno.EMFILE)
        assert program.errno() == errno.EMFILE


def test_nothing_reaches_a_dead_program() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program, open(os.devnull) as null:
        id = received(program)
        assert program.listener.valid(id)
        assert not program.listener.finished()
        program.kill()
        assert not program.listener.valid(id)
        assert not program.listener.send_continue(id)
        assert not program.listener.send_value(id, 1)
        assert not program.listener.send_errno(id, errno.EPERM)
        with pytest.raises(FileNotFoundError):
            program.listener.add_fd(id, null.fileno(), cloexec=True, send=True)
        assert program.listener.finished()


def test_a_second_answer_is_refused() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        id = received(program)
        assert program.listener.send_value(id, 1)
        assert not program.listener.send_value(id, 2)
        assert program.result() == 1


def test_a_responder_answers_from_another_thread() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        id = received(program)
        responder = program.listener.responder()
        thread = Thread(target=responder.send_value, args=(id, 9))
        thread.start()
        assert program.result() == 9
        thread.join()


def test_a_signal_interrupts_a_received_call() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        id = received(program)
        os.kill(program.pid, signal.SIGUSR1)
        assert program.result() == -1
        assert not program.listener.send_value(id, 1)
        assert program.errno() == errno.EINTR


def test_a_signal_waits_for_the_answer_with_wait_killable() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000, flags=WAIT_KILLABLE) as program:
        id = received(program)
        os.kill(program.pid, signal.SIGUSR1)
        assert pending_signals(program.pid) == 1 << (signal.SIGUSR1 - 1)
        assert program.listener.send_value(id, 11)
        assert program.result() == 11


def test_death_does_not_wait_for_the_answer_with_wait_killable() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000, flags=WAIT_KILLABLE) as program:
        id = received(program)
        program.kill()
        assert not program.listener.send_value(id, 1)


def test_a_closed_listener_makes_the_call_enosys() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        received(program)
        program.listener.close()
        assert program.listener.fd == -1
        assert program.errno() == errno.ENOSYS


def test_close_can_be_repeated() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        program.listener.close()
        program.listener.close()


def test_receive_gives_way_to_a_signal() -> None:
    with supervised(NOTIFY_FSYNC, "getpid") as program:
        assert program.result() == program.pid
        previous = signal.signal(signal.SIGUSR1, lambda *_: None)
        waiting = f"/proc/self/task/{os.getpid()}/stat"
        helper = Thread(target=interrupt_when_asleep, args=(waiting,))
        helper.start()
        try:
            assert not program.listener.receive()
        finally:
            helper.join()
            signal.signal(signal.SIGUSR1, previous)
        assert not program.listener.finished()


def interrupt_when_asleep(stat: str) -> None:
    """Signal this process as soon as its main thread sleeps in the kernel."""
    while Path(stat).read_text().rpartition(") ")[2][0] != "S":
        os.sched_yield()
    os.kill(os.getpid(), signal.SIGUSR1)


def test_other_failures_are_not_hidden() -> None:
    with open(os.devnull) as null:
        listener = Listener(os.dup(null.fileno()))
        for attempt in (listener.receive, lambda: listener.send_continue(NotificationId(1))):
            with pytest.raises(OSError, match="Inappropriate ioctl"):
                attempt()
        listener.close()


def test_sync_wake_up_tells_whether_the_kernel_has_it() -> None:
    with supervised(NOTIFY_FSYNC, "fsync", 1000) as program:
        release = tuple(int(part) for part in os.uname().release.split(".")[:2])
        assert program.listener.sync_wake_up() is (release >= (6, 6))
        assert program.listener.send_value(received(program), 3)
        assert program.result() == 3


def test_the_ioctl_numbers_name_the_structures() -> None:
    """``_IOC(direction, '!', number, size)`` of ``asm-generic/ioctl.h``."""
    for request, direction, nr, layout in (
        (notify.IOCTL_RECV, 3, 0, "<QIIiIQ6Q"),
        (notify.IOCTL_SEND, 3, 1, "<QqiI"),
        (notify.IOCTL_ID_VALID, 1, 2, "<Q"),
        (notify.IOCTL_ADDFD, 1, 3, "<QIIII"),
        (notify.IOCTL_SET_FLAGS, 1, 4, "<Q"),
    ):
        assert request == direction << 30 | struct.calcsize(layout) << 16 | ord("!") << 8 | nr
