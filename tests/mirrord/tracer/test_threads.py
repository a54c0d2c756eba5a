import errno
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirrord_seccomp.notify import NotificationId

from mirrord.syscall import Elsewhere, Fault, Gone, Skipped
from mirrord.tracer import threads as module
from mirrord.tracer.threads import Threads, command

from ...support.processes import state
from ...support.waiting import until
from .puppet import COMMAND, Puppet
from .puppet import puppet as started

CALL = NotificationId(1)
PROT_READ, PROT_WRITE = 1, 2


@pytest.fixture
def puppet() -> Iterator[Puppet]:
    with started() as made:
        yield made


class Looks:
    """Counts how often it was asked whether the call still waits."""

    def __init__(self) -> None:
        self.count = 0
        self.valid = True

    def __call__(self, call: NotificationId) -> bool:
        assert call == CALL
        self.count += 1
        return self.valid


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    monkeypatch.setattr(module, "_LIFETIME", 1000.0)
    return Looks()


@pytest.fixture
def threads(looks: Looks) -> Iterator[Threads]:
    made = Threads(looks, frozenset({"skipped-by-name-that-is-long"}))
    yield made
    made.forget_all()


def test_memory_is_read(threads: Threads, looks: Looks, puppet: Puppet) -> None:
    at = puppet("page(b'0123456789')")
    assert threads.read(puppet.pid, CALL, at + 2, 3) == b"234"
    assert threads.read(puppet.pid, CALL, at, 0) == b""
    assert looks.count == 1, "the descriptor is opened once"


def test_a_read_ends_where_the_mapping_ends(threads: Threads, puppet: Puppet) -> None:
    at = puppet("page(b'x' * 8192, 2)")
    puppet(f"libc.munmap(ctypes.c_void_p({at + 4096}), 4096)")
    assert threads.read(puppet.pid, CALL, at + 4090, 100) == b"x" * 6
    with pytest.raises(Fault):
        threads.read(puppet.pid, CALL, at + 4096, 1)


@pytest.mark.parametrize("address", [0, 1, 4095, 2**47, 2**63 - 1, 2**63, 2**64 - 1])
def test_no_memory_there(threads: Threads, puppet: Puppet, address: int) -> None:
    for act in (
        lambda: threads.read(puppet.pid, CALL, address, 1),
        lambda: threads.string(puppet.pid, CALL, address),
        lambda: threads.write(puppet.pid, address, b"x"),
    ):
        with pytest.raises(Fault) as caught:
            act()
        assert caught.value.errno == errno.EFAULT


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 4094, 4095])
def test_a_string_at_the_end_of_a_mapping(threads: Threads, puppet: Puppet, length: int) -> None:
    at = puppet("page(pages=2)")
    puppet(f"libc.munmap(ctypes.c_void_p({at + 4096}), 4096)")
    begin = at + 4096 - length - 1
    puppet(f"ctypes.memset({begin}, 97, {length})")
    assert threads.string(puppet.pid, CALL, begin) == b"a" * length


def test_a_string_that_runs_out_of_the_mapping(threads: Threads, puppet: Puppet) -> None:
    at = puppet("page(b'x' * 8192, 2)")
    puppet(f"libc.munmap(ctypes.c_void_p({at + 4096}), 4096)")
    with pytest.raises(Fault):
        threads.string(puppet.pid, CALL, at + 4000)


def test_a_string_that_is_too_long(threads: Threads, puppet: Puppet) -> None:
    at = puppet("page(b'x' * 8192, 2)")
    with pytest.raises(OSError) as caught:
        threads.string(puppet.pid, CALL, at)
    assert caught.value.errno == errno.ENAMETOOLONG
    puppet(f"ctypes.memset({at + 4096}, 0, 1)")
    with pytest.raises(OSError) as caught:
        threads.string(puppet.pid, CALL, at)
    assert caught.value.errno == errno.ENAMETOOLONG, "PATH_MAX counts the NUL"


def test_memory_that_the_program_has_protected_is_read_all_the_same(threads: Threads, puppet: Puppet) -> None:
    """So says docs/design.md: it costs no time, and a program that means to get EFAULT passes NULL."""
    at = puppet("page(b'secret')")
    puppet(f"libc.mprotect(ctypes.c_void_p({at}), 4096, 0)")
    assert threads.read(puppet.pid, CALL, at, 6) == b"secret"


@pytest.mark.parametrize("size", [2**45, 2**63, 2**64 - 1])
def test_a_size_beyond_all_memory_is_no_other_error(threads: Threads, puppet: Puppet, size: int) -> None:
    at = puppet("page(b'x')")
    with pytest.raises(OSError):
        threads.read(puppet.pid, CALL, at, size)


def test_memory_is_opened_anew_after_an_exec(threads: Threads, looks: Looks, puppet: Puppet) -> None:
    at = puppet("page(b'before')")
    assert threads.read(puppet.pid, CALL, at, 6) == b"before"
    puppet.tell(f"os.execv({COMMAND[0]!r}, {COMMAND!r})")
    at = puppet("page(b'after')")
    assert threads.read(puppet.pid, CALL, at, 5) == b"after"
    assert threads.string(puppet.pid, CALL, at) == b"after"
    assert looks.count == 2


def test_a_thread_that_is_forgotten_is_looked_at_afresh(
    threads: Threads, looks: Looks, puppet: Puppet
) -> None:
    threads.get(puppet.pid, CALL)
    threads.forget(puppet.pid)
    threads.forget(puppet.pid)
    threads.get(puppet.pid, CALL)
    assert looks.count == 2


def test_an_entry_lives_for_a_while_only(
    looks: Looks, puppet: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LIFETIME", 0.0)
    threads = Threads(looks)
    for _ in range(3):
        threads.get(puppet.pid, CALL)
    assert looks.count == 3
    threads.forget_all()


def test_a_thread_that_died_meanwhile_is_gone(threads: Threads, looks: Looks, puppet: Puppet) -> None:
    before = len(os.listdir("/proc/self/fd"))
    looks.valid = False
    with pytest.raises(Gone):
        threads.get(puppet.pid, CALL)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_that_has_ended_is_gone(threads: Threads) -> None:
    with started() as made:
        pid = made.pid
    with pytest.raises(Gone):
        threads.read(pid, CALL, 4096, 1)
    with pytest.raises(Gone):
        threads.write(pid, 4096, b"x")
    with pytest.raises(Gone):
        command(pid)


def test_a_zombie_is_gone(threads: Threads, looks: Looks) -> None:
    process = subprocess.Popen(["true"])
    looks.valid = False
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        with pytest.raises(Gone):
            threads.read(process.pid, CALL, 4096, 1)
    finally:
        process.wait()


def test_memory_is_written(threads: Threads, puppet: Puppet) -> None:
    at = puppet("page(b'0123456789')")
    threads.write(puppet.pid, at + 2, b"abc")
    assert puppet(f"ctypes.string_at({at}, 6)") == b"01abc5"
    threads.write(puppet.pid, 0, b"")


def test_a_constant_of_the_program_is_not_overwritten(threads: Threads, puppet: Puppet) -> None:
    at = puppet("page(b'constant')")
    puppet(f"libc.mprotect(ctypes.c_void_p({at}), 4096, {PROT_READ})")
    with pytest.raises(Fault):
        threads.write(puppet.pid, at, b"x")
    assert puppet(f"ctypes.string_at({at}, 8)") == b"constant"


def test_a_write_that_runs_into_the_unwritable_is_a_fault(threads: Threads, puppet: Puppet) -> None:
    at = puppet("page(pages=2)")
    puppet(f"libc.mprotect(ctypes.c_void_p({at + 4096}), 4096, {PROT_READ})")
    with pytest.raises(Fault):
        threads.write(puppet.pid, at + 4090, b"x" * 10)


def test_a_descriptor_is_duplicated(threads: Threads, puppet: Puppet) -> None:
    puppet("kept.append(socket.socketpair())")
    ours = threads.get(puppet.pid, CALL).duplicate(puppet("kept[-1][0].fileno()"))
    assert not os.get_inheritable(ours)
    with socket.socket(fileno=ours) as sock:
        sock.send(b"x")
        assert puppet("kept[-1][1].recv(1)") == b"x"
    with pytest.raises(OSError) as caught:
        threads.get(puppet.pid, CALL).duplicate(99)
    assert caught.value.errno == errno.EBADF


def test_a_descriptor_of_a_process_that_ended_is_gone(threads: Threads) -> None:
    with started() as made:
        thread = threads.get(made.pid, CALL)
        thread.duplicate(0)
        kept = os.dup(thread.memory)
    os.close(kept)
    with pytest.raises(Gone):
        thread.duplicate(0)


def test_a_descriptor_table_of_a_threads_own(threads: Threads, puppet: Puppet) -> None:
    """``unshare(CLONE_FILES)`` in a thread: PIDFD_THREAD finds its table (Linux 6.9)."""
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 9):
        pytest.skip("PIDFD_THREAD needs Linux 6.9")
    puppet("ready, go = threading.Event(), threading.Event()")
    work = """def work():
        libc.unshare(0x400)
        kept.append((threading.get_native_id(), os.open("/dev/null", 0)))
        ready.set()
        go.wait()"""
    puppet(f"exec({work!r}, globals())")
    puppet("threading.Thread(target=work, daemon=True).start()")
    puppet("ready.wait()")
    tid, fd = puppet("kept[-1]")
    os.close(threads.get(tid, CALL).duplicate(fd))
    with pytest.raises(OSError):
        threads.get(puppet.pid, CALL).duplicate(fd)


def test_namespaces_of_our_own_are_not_foreign(threads: Threads, puppet: Puppet) -> None:
    thread = threads.get(puppet.pid, CALL)
    assert not thread.foreign_network()
    assert not thread.foreign_files()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to enter new namespaces")
@pytest.mark.parametrize(
    ("move", "network", "files"),
    [
        ("libc.unshare(0x40000000)", True, False),
        ("libc.unshare(0x20000)", False, True),
        ("os.chroot('/usr')", False, True),
    ],
)
def test_foreign_places_are_told(
    threads: Threads, puppet: Puppet, move: str, network: bool, files: bool
) -> None:
    threads.get(puppet.pid, CALL).foreign_network()
    puppet(move)
    threads.forget_all()
    thread = threads.get(puppet.pid, CALL)
    assert (thread.foreign_network(), thread.foreign_files()) == (network, files)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_a_process_that_may_not_be_looked_at_is_elsewhere(puppet: Puppet, looks: Looks) -> None:
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 65534, 65534)
        try:
            Threads(looks).get(puppet.pid, CALL)
        except Elsewhere:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_program_is_skipped_by_its_name(threads: Threads, puppet: Puppet) -> None:
    threads.require_not_skipped(puppet.pid, CALL)
    puppet("libc.prctl(15, b'skipped-by-name-that-is-long')")
    threads.forget_all()
    assert command(puppet.pid) == "skipped-by-name"
    with pytest.raises(Skipped):
        threads.require_not_skipped(puppet.pid, CALL)


def test_not_too_many_threads_are_kept(
    threads: Threads, looks: Looks, puppet: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        for pid in (puppet.pid, os.getpid()):
            threads.get(pid, CALL)
    assert looks.count == 6
    assert len(os.listdir("/proc/self/fd")) == before + 1


def test_where_a_waiting_threads_stack_is(threads: Threads, puppet: Puppet) -> None:
    assert puppet("1") == 1
    until("it waits", lambda: state(puppet.pid) == "S")
    maps = Path(f"/proc/{puppet.pid}/maps").read_text().splitlines()
    (stack,) = (line.split()[0] for line in maps if line.endswith("[stack]"))
    begin, end = (int(address, 16) for address in stack.split("-"))
    for _ in range(2):
        assert begin <= threads.get(puppet.pid, CALL).stack_pointer() < end
