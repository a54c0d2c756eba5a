"""A thread that makes calls of ours, and whose tracer is killed at some moment of that."""

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mirrord_seccomp.syscalls import Arch, current_arch

from ...support.waiting import until
from .puppet import nr, puppet
from .test_following import FSYNC, NATIVE, tracer

TRACER = """
import os, sys
sys.path[:0] = {path!r}
from mirrord.syscall import GiveFd
from mirrord.tracer import borrowed, registers
from tests.mirrord.tracer.test_following import followed, settle
pid, left = map(int, sys.argv[1:])
given = 0
def give(call):
    global given
    given += 1
    return GiveFd(os.open(os.devnull, os.O_RDONLY), cloexec=True)
def counted(step):
    def run(*arguments):
        global left
        if given > 1:
            if left == 0:
                os._exit(0)
            left -= 1
        return step(*arguments)
    return run
registers.put = counted(registers.put)
borrowed.Borrowed._next_stop = counted(borrowed.Borrowed._next_stop)
with followed(pid, fsync=give) as scene:
    settle(scene)
    print("settled", flush=True)
    sys.stdin.read()
print("left", left)
"""
STEPS = 14
"""Of the second descriptor that a thread is given: the way there, four calls (made, begun,
ended), and the way back.
"""


@pytest.mark.skipif(current_arch() is not Arch.X86_64, reason="there is no way back on other machines")
@pytest.mark.parametrize("step", [0, 1, 2, 3, 6, 9, STEPS - 1])
def test_it_makes_its_own_call_when_nobody_stops_it_any_more(step: int) -> None:
    with puppet() as one:
        one("[signal.signal(signal.SIGUSR1, lambda *_: kept.append(1))] and None")
        one("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}) and None")
        line = [sys.executable, "-c", TRACER.format(path=sys.path), str(one.pid), str(step)]
        root = Path(__file__).parents[3]
        pipe = subprocess.PIPE
        with subprocess.Popen(line, stdin=pipe, stdout=pipe, cwd=root, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "settled\n"
            assert one(FSYNC) > 2
            # the second time there is a way back, and the tracer ends on it
            one.tell(f"({FSYNC}, 0.1 + 0.2)")
            assert process.wait(20) == 0
        assert one.hear() == (NATIVE, 0.1 + 0.2)
        until("nobody traces it", lambda: tracer(one.pid) == "0")
        assert one("[*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))]") == [signal.SIGUSR2]
        assert one("os.kill(os.getpid(), signal.SIGUSR1) or kept") == [1]


def test_how_many_steps_there_are() -> None:
    with puppet() as one:
        line = [sys.executable, "-c", TRACER.format(path=sys.path), str(one.pid), str(STEPS)]
        root = Path(__file__).parents[3]
        pipe = subprocess.PIPE
        with subprocess.Popen(line, stdin=pipe, stdout=pipe, cwd=root, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "settled\n"
            assert one(FSYNC) > 2
            assert one(FSYNC) > 2
            assert process.communicate("", timeout=20)[0] == "left 0\n"
        assert one(FSYNC) == NATIVE


def test_a_process_that_gets_no_page_for_it_is_served_all_the_same() -> None:
    with puppet() as one:
        one("import resource; resource.setrlimit(resource.RLIMIT_AS, (1, 1)) and None")
        assert one(f"call({nr('mmap')}, 0, 4096, 3, 34, -1, 0)") == -errno.ENOMEM
        line = [sys.executable, "-c", TRACER.format(path=sys.path), str(one.pid), "1000"]
        root = Path(__file__).parents[3]
        pipe = subprocess.PIPE
        with subprocess.Popen(line, stdin=pipe, stdout=pipe, cwd=root, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "settled\n"
            assert one(FSYNC) == -errno.ENOMEM
            process.communicate("", timeout=20)
        assert one(FSYNC) == NATIVE
