import errno
import os
import resource
import socket
from pathlib import Path

import pytest

from mirrord.syscall import Call, GiveFd, Verdict
from mirrord.tracer import give as module

from ...support.waiting import until
from .puppet import nr, traced

FSYNC = f"call({nr('fsync')}, 1000)"


@pytest.mark.parametrize("cloexec", [True, False])
def test_a_descriptor_is_given_at_the_lowest_number(tmp_path: Path, cloexec: bool) -> None:
    path = tmp_path / "given"
    path.write_text("content")
    ours: list[int] = []

    def handler(call: Call) -> Verdict:
        ours.append(os.open(path, os.O_RDONLY))
        return GiveFd(ours[-1], cloexec)

    with traced(fsync=handler) as program:
        lowest = program.puppet("[os.dup(0), os.close(os.dup(0))][0] + 1")
        before = program.puppet("sorted(os.listdir('/proc/self/fd'))")
        given = program.call("fsync", 1000)
        assert given == lowest
        assert os.readlink(f"/proc/{program.puppet.pid}/fd/{given}") == str(path)
        assert program.puppet(f"os.read({given}, 100)") == b"content"
        assert program.puppet(f"os.get_inheritable({given})") is not cloexec
        until("our descriptor is closed", lambda: not os.path.exists(f"/proc/self/fd/{ours[0]}"))
        program.puppet(f"os.close({given})")
        assert program.puppet("sorted(os.listdir('/proc/self/fd'))") == before, "and nothing else is left"
        assert program.call("fsync", 1000) == lowest
        assert len(program.calls) == 2


def test_a_socket_is_given_too() -> None:
    def handler(call: Call) -> Verdict:
        ours, theirs = socket.socketpair()
        ours.send(b"word")
        ours.close()
        return GiveFd(theirs.detach(), True)

    with traced(fsync=handler) as program:
        assert program.puppet(f"os.read({FSYNC}, 10)") == b"word"


def test_a_program_without_room_for_a_descriptor_gets_emfile() -> None:
    with traced(fsync=lambda call: GiveFd(os.open(os.devnull, os.O_RDONLY), False)) as program:
        assert program.puppet("1") == 1, "it has started, which takes descriptors"
        resource.prlimit(program.puppet.pid, resource.RLIMIT_NOFILE, (3, 64))
        assert program.call("fsync", 1000) == -errno.EMFILE
        assert program.warnings == []


def test_room_for_a_single_descriptor_is_enough() -> None:
    with traced(fsync=lambda call: GiveFd(os.open(os.devnull, os.O_RDONLY), False)) as program:
        assert program.puppet("os.closerange(3, 64)") is None, "what it has inherited"
        resource.prlimit(program.puppet.pid, resource.RLIMIT_NOFILE, (4, 64))
        assert program.call("fsync", 1000) == 3
        assert resource.prlimit(program.puppet.pid, resource.RLIMIT_NOFILE) == (4, 64)
        assert program.call("fsync", 1000) == -errno.EMFILE
        assert program.warnings == []


def test_a_thread_needs_one_page_and_a_new_program_another() -> None:
    with traced(fsync=lambda call: GiveFd(os.open(os.devnull, os.O_RDONLY), False)) as program:
        mapped = "open('/proc/self/maps').read().count(chr(10))"
        program.puppet(f"os.close({FSYNC})")
        first = program.puppet(mapped)
        program.puppet(f"[os.close({FSYNC}) for _ in range(20)] and None")
        assert program.puppet(mapped) == first
        code = f"import ctypes; raise SystemExit(ctypes.CDLL(None).syscall({nr('fsync')}, 1000))"
        program.puppet("import subprocess")
        for _ in range(3):
            assert program.puppet(f"subprocess.run([sys.executable, '-c', {code!r}]).returncode") == 3


_SOCKET = socket.socket


class _Intruded(socket.socket):
    """A socket to which another sends as soon as it has a name, and once more when it is connected."""

    def bind(self, name: object) -> None:
        super().bind("")
        self._intrude()

    def connect(self, name: object) -> None:
        super().connect(self.getsockname())
        with pytest.raises(PermissionError):
            self._intrude()

    def _intrude(self) -> None:
        with _SOCKET(socket.AF_UNIX, socket.SOCK_DGRAM) as intruder, open(os.devnull) as file:
            intruder.connect(self.getsockname())
            socket.send_fds(intruder, [b"?"], [file.fileno()])


def test_a_descriptor_of_somebody_else_is_not_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", _Intruded)
    with _SOCKET(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs, open(tmp_path / "ours", "w") as ours:
        module._send(os.getpid(), theirs.fileno(), ours.fileno())
        said, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        assert (said, os.readlink(f"/proc/self/fd/{fds[0]}")) == (b".", ours.name)
        os.close(fds[0])
        with pytest.raises(BlockingIOError):
            theirs.recv(1, socket.MSG_DONTWAIT)
