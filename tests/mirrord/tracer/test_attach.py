"""Filters put onto processes that run: what they notice of it, which is nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mirrord_seccomp import bpf
from mirrord_seccomp.notify import Listener
from mirrord_seccomp.rules import Action, Rule
from mirrord_seccomp.syscalls import current_arch

from mirrord.errors import AttachError
from mirrord.tracer import attach as module
from mirrord.tracer.attach import Attachment, attach

from ...support.needs import missing
from ...support.processes import system_call
from ...support.waiting import until
from .puppet import Puppet, filtered, held_up, nr, puppet

FILTER = bpf.compile([Rule("getppid", Action.NOTIFY)], current_arch())


@contextmanager
def attached(pid: int) -> Iterator[tuple[Attachment, Listener]]:
    made = attach(pid, FILTER)
    listener = Listener(made.listener)
    yield made, listener
    listener.close()
    os.close(made.process)


def blocked(pid: int, call: str) -> None:
    """Wait until the process's first thread is in a system call."""
    until(f"it is in {call}", lambda: system_call(pid) == call)


def descriptors(pid: int) -> set[str]:
    return {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}


def field(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/status").read_text().partition(f"\n{name}:")[2].split()[0]


def test_its_calls_arrive_and_nothing_else_has_changed() -> None:
    with puppet() as one:
        blocked(one.pid, "read")
        before = descriptors(one.pid), Path(f"/proc/{one.pid}/maps").read_text()
        with attached(one.pid) as (made, listener):
            assert made.threads == 1
            assert (descriptors(one.pid), Path(f"/proc/{one.pid}/maps").read_text()) == before
            assert field(one.pid, "TracerPid") == "0"
            one.tell(f"call({nr('getppid')})")
            assert listener.receive()
            assert listener.notification[1] == one.pid
            assert listener.send_value(listener.notification[0], 4242)
            assert one.hear() == 4242


def test_every_thread_is_under_the_filter() -> None:
    with puppet() as one:
        one("event = threading.Event()")
        for _ in range(30):
            one(
                f"threading.Thread(target=lambda: (event.wait(), call({nr('getppid')})), daemon=True).start()"
            )
        with attached(one.pid) as (made, listener):
            assert made.threads == 31
            one("event.set()")
            seen = set()
            for _ in range(30):
                assert listener.receive()
                seen.add(listener.notification[1])
                listener.send_continue(listener.notification[0])
            assert len(seen) == 30


@pytest.mark.parametrize("restart", [False, True])
def test_a_signal_while_it_is_stopped_does_what_it_always_does(
    monkeypatch: pytest.MonkeyPatch, restart: bool
) -> None:
    """SA_RESTART decides whether a read goes on after a handler; nothing is lost."""
    inject = module._inject

    def with_signal(pid: int, process: int, filter_: bytes) -> int:
        os.kill(pid, signal.SIGUSR1)
        return inject(pid, process, filter_)

    monkeypatch.setattr(module, "_inject", with_signal)
    with puppet() as one:
        one("seen = []")
        one("old = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))")
        one(f"signal.siginterrupt(signal.SIGUSR1, {not restart})")
        one("pipe = os.pipe()")
        writing = one("pipe[1]")
        # Python itself repeats os.read; a call by ctypes it does not
        one.tell(f"call({nr('read')}, pipe[0], page(), 1)")
        blocked(one.pid, "read")
        with attached(one.pid):
            if restart:
                until("the handler has run", lambda: int(field(one.pid, "ShdPnd"), 16) == 0)
                blocked(one.pid, "read")
                fd = os.open(f"/proc/{one.pid}/fd/{writing}", os.O_WRONLY)
                os.write(fd, b"x")
                os.close(fd)
                assert one.hear() == 1
            else:
                assert one.hear() == -4
            assert one("seen") == [1]


def test_a_spinning_program_goes_on_where_it_was() -> None:
    script = "print('ready', flush=True)\nn = 0\nwhile n < 6_000_000: n += 1\nprint(n)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        with attached(process.pid):
            assert process.stdout.readline() == "6000000\n"


def test_one_that_has_a_listener_already() -> None:
    with filtered("uname") as (one, listener):
        blocked(one.pid, "read")
        with pytest.raises(AttachError, match="supervised by a seccomp listener already"):
            attach(one.pid, FILTER)
        assert field(one.pid, "TracerPid") == "0"
        assert one("1 + 1") == 2
        one.tell("os.uname().sysname")
        assert listener.receive()
        listener.send_continue(listener.notification[0])
        assert one.hear() == "Linux"


def test_one_whose_listener_was_lost_is_well_again() -> None:
    with puppet() as one:
        attach_and_lose(one)
        assert one(f"call({nr('getppid')})") == -38
        with attached(one.pid) as (_, listener):
            one.tell(f"call({nr('getppid')})")
            assert listener.receive()
            listener.send_continue(listener.notification[0])
            assert one.hear() == os.getpid()


def attach_and_lose(one: Puppet) -> None:
    with attached(one.pid):
        pass


def test_one_that_gets_no_descriptor() -> None:
    with puppet() as one:
        one("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))")
        with pytest.raises(AttachError, match="no descriptor left"):
            attach(one.pid, FILTER)
        assert one("1 + 1") == 2


def test_a_vfork_is_waited_for() -> None:
    """The parent cannot be stopped until its child executes; it is let go of meanwhile."""
    script = (
        "import os, sys; print('ready', flush=True)\n"
        "import subprocess\n"
        "r, w = os.pipe(); subprocess.run(['sleep', '0.1']); print(sys.stdin.readline(), flush=True)"
    )
    line = [sys.executable, "-c", script]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        with attached(process.pid):
            assert process.communicate("done\n", timeout=20)[0] == "done\n\n"
            assert process.returncode == 0


def test_one_that_does_not_stop_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread stays seized between two attempts, and is not seized again."""
    with puppet() as one, held_up(one) as go_on:
        pauses = iter(range(module.ATTEMPTS))
        monkeypatch.setattr(module, "pause", lambda: go_on() if next(pauses) == 2 else None)
        with attached(one.pid) as (made, listener):
            assert made.threads == 1
            assert one.hear() > 0
            one.tell(f"call({nr('getppid')})")
            assert listener.receive()
            listener.send_continue(listener.notification[0])
            assert one.hear() == os.getpid()


def test_a_filter_of_its_own_does_not_kill_it() -> None:
    if os.geteuid() != 0:
        missing("root, who may suspend filters,")
    script = (
        "import sys; from mirrord_seccomp import bpf, load; from mirrord_seccomp.rules import Action, Rule\n"
        "from mirrord_seccomp.syscalls import current_arch\n"
        "rules = [Rule(name, Action(0x80000000)) for name in ('seccomp', 'munmap')]\n"
        "load.load(bpf.compile(rules, current_arch()))\n"
        "print('ready', flush=True); print(sys.stdin.readline(), flush=True); import os; os._exit(0)"
    )
    line = [sys.executable, "-c", script]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        blocked(process.pid, "read")
        with attached(process.pid):
            process.stdin.write("on\n")
            process.stdin.flush()
            assert process.stdout.readline() == "on\n"
            process.kill()


def test_threads_with_filters_of_their_own() -> None:
    with puppet() as one:
        one("go = threading.Event(); loaded = threading.Event()")
        one(f"import sys; sys.path[:0] = {sys.path!r}")
        one("from mirrord_seccomp import bpf, load; from mirrord_seccomp.rules import Action, Rule")
        one("from mirrord_seccomp.syscalls import current_arch")
        one("program = bpf.compile([Rule('nfsservctl', Action.ERRNO(38))], current_arch())")
        one(
            "threading.Thread(target=lambda: (load.set_no_new_privs(), load.load(program), loaded.set(), "
            "go.wait()), daemon=True).start()"
        )
        assert one("loaded.wait(10)") is True
        with pytest.raises(AttachError, match="different seccomp filters"):
            attach(one.pid, FILTER)
        assert one("1 + 1") == 2
