import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from mirrord_seccomp.notify import Listener

from mirrord.syscall import Gone
from mirrord.tracer import signals
from mirrord.tracer.signals import pending

from .puppet import Puppet, filtered


@dataclass(frozen=True, slots=True)
class Waiting:
    """A puppet whose fsync waits for an answer that does not come."""

    puppet: Puppet
    listener: Listener

    @property
    def pid(self) -> int:
        return self.puppet.pid

    def hold(self) -> None:
        """Have it wait in the trapped call."""
        self.puppet.tell("os.fsync(1)")
        assert self.listener.receive()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    with filtered("fsync") as (puppet, listener):
        puppet("exec('def handler(*_): pass', globals())")
        yield Waiting(puppet, listener)


@pytest.mark.parametrize(
    ("name", "prepare", "ends"),
    [
        ("SIGUSR1", "[signal.signal(signal.SIGUSR1, handler)] and None", True),
        ("SIGUSR1", "[signal.signal(signal.SIGUSR1, signal.SIG_IGN)] and None", False),
        ("SIGUSR1", "[signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})] and None", False),
        ("SIGCHLD", "None", False),
        ("SIGCHLD", "[signal.signal(signal.SIGCHLD, handler)] and None", True),
        ("SIGWINCH", "None", False),
        ("SIGURG", "None", False),
        ("SIGCONT", "None", False),
        ("SIGTSTP", "None", True),
        ("SIGPIPE", "[signal.signal(signal.SIGPIPE, signal.SIG_IGN)] and None", False),
    ],
)
def test_whether_a_signal_ends_the_call(waiting: Waiting, name: str, prepare: str, ends: bool) -> None:
    waiting.puppet(prepare)
    waiting.hold()
    assert not pending(waiting.pid)
    os.kill(waiting.pid, signal.Signals[name])
    assert pending(waiting.pid) is ends


def test_a_signal_to_the_thread_counts_as_well(waiting: Waiting) -> None:
    waiting.puppet("[signal.signal(signal.SIGUSR1, handler)] and None")
    waiting.hold()
    pidfd = os.pidfd_open(waiting.pid)
    signal.pidfd_send_signal(pidfd, signal.SIGUSR1)
    os.close(pidfd)
    assert pending(waiting.pid)


def test_a_real_time_signal_counts_as_well(waiting: Waiting) -> None:
    waiting.puppet("[signal.signal(signal.SIGRTMAX, handler)] and None")
    waiting.hold()
    os.kill(waiting.pid, signal.SIGRTMAX)
    assert pending(waiting.pid)


def test_no_such_thread_is_gone() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    with pytest.raises(Gone):
        pending(process.pid)


@pytest.mark.parametrize(
    ("thread", "process", "blocked", "ignored", "caught", "ends"),
    [
        (0, 0, 0, 0, 0, False),
        (1, 0, 0, 0, 0, True),
        (0, 1 << 63, 0, 0, 0, True),
        (1, 1, 1, 0, 1, False),
        (1, 1, 0, 1, 0, False),
        (1 << 16, 0, 0, 0, 0, False),
        (1 << 16, 0, 0, 0, 1 << 16, True),
        (1 << 16 | 2, 0, 0, 0, 0, True),
    ],
)
def test_the_masks_of_a_status(
    thread: int,
    process: int,
    blocked: int,
    ignored: int,
    caught: int,
    ends: bool,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt")
    masks = (thread, process, blocked, ignored, caught)
    lines = [f"{name}:\t{mask:016x}\n" for name, mask in zip(names, masks, strict=True)]
    path = tmp_path_factory.mktemp("proc") / "status"
    path.write_text("Name:\tx\nSigQ:\t0/1\n" + "".join(lines) + "CapInh:\t0\n")
    monkeypatch.setattr(signals, "open", lambda *a, **k: path.open("rb", buffering=0), raising=False)
    assert pending(1) is ends
