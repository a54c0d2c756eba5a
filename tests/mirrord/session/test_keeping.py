"""The keeper: it answers between sessions, and hands the process to one at a time."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from mirrord_seccomp import bpf
from mirrord_seccomp.notify import Listener
from mirrord_seccomp.rules import Action, Op, Rule, Test
from mirrord_seccomp.syscalls import current_arch

from mirrord.errors import AttachError
from mirrord.session import doors, ordering
from mirrord.session.directory import SessionDirectory, base
from mirrord.tracer.ledger import Ledger

from ...support.needs import missing
from ...support.waiting import until
from ..tracer.puppet import Puppet, held_up, nr, puppet

RULES = [Rule("getppid", Action.NOTIFY), Rule("getpgid", Action.NOTIFY, Test(0, Op.EQ, 0, 32))]
FILTER = bpf.compile(RULES, current_arch())
TRAPS = {nr(rule.syscall): (rule,) for rule in RULES}


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def orders() -> Iterator[socket.socket]:
    channel = ordering.spawn()
    yield channel
    channel.close()


@pytest.fixture
def kept(orders: socket.socket) -> Iterator[Puppet]:
    """A process with a keeper."""
    with puppet() as one:
        threads, seconds = ordering.order(orders, one.pid, FILTER, TRAPS)
        assert threads == 1
        assert 0 < seconds < 5
        yield one
    until("its keeper has gone with it", lambda: not os.path.exists(base()))


def connected(pid: int) -> socket.socket:
    found = doors.connect(pid)
    assert found is not None
    return found


def ask(pid: int, *words: str) -> list[str | int | float]:
    with connected(pid) as door:
        doors.send(door, *words)
        return doors.receive(door)[0]


def serve(pid: int, directory: str = "/nowhere/at/all") -> tuple[socket.socket, Listener]:
    session = connected(pid)
    doors.send(session, doors.SERVE, "id", directory)
    words, fds = doors.receive(session, fds=2)
    assert words == [doors.LISTENER]
    os.close(fds[1])
    return session, Listener(fds[0])


def test_a_process_without_a_session_is_local(kept: Puppet) -> None:
    assert kept(f"call({nr('getppid')})") == os.getpid()
    assert ask(kept.pid, doors.DETACH) == [doors.IDLE]


def test_one_that_would_not_stop_is_let_go_of(kept: Puppet, orders: socket.socket) -> None:
    """Although its keeper keeps another, which it goes on to do."""
    with puppet() as one, held_up(one) as go_on:
        with pytest.raises(AttachError, match="has a thread that cannot be stopped"):
            ordering.order(orders, one.pid, FILTER, TRAPS)
        go_on()
        assert one.hear() > 0
        assert one(f"call({nr('getppid')})") == os.getpid()
    assert kept(f"call({nr('getppid')})") == os.getpid()
    session, listener = serve(kept.pid)
    session.close()
    listener.close()


def test_a_session_has_the_calls_until_its_connection_ends(kept: Puppet) -> None:
    for number in (1, 2, 3):
        session, listener = serve(kept.pid)
        kept.tell(f"call({nr('getppid')})")
        assert listener.receive()
        assert listener.send_value(listener.notification[0], number)
        assert kept.hear() == number
        session.close()
        listener.close()
        assert kept(f"call({nr('getppid')})") == os.getpid()


def test_one_session_at_a_time(kept: Puppet) -> None:
    session, listener = serve(kept.pid)
    assert ask(kept.pid, doors.SERVE, "id", "/nowhere/at/all") == [doors.HELD, os.getpid()]
    session.close()
    listener.close()
    until("it is free again", lambda: ask(kept.pid, doors.DETACH) == [doors.IDLE])


def test_detach_is_told_to_the_session_and_answered_when_that_has_ended(kept: Puppet, tmp_path: Path) -> None:
    left = tmp_path / "mirrord" / "sessions" / "one"
    left.mkdir(parents=True)
    session, listener = serve(kept.pid, str(left))
    with connected(kept.pid) as door:
        doors.send(door, doors.DETACH)
        assert doors.receive(session) == ([doors.END], [])
        session.close()
        listener.close()
        assert doors.receive(door) == ([doors.DETACHED], [])
    until("what the session has left is removed", lambda: not left.exists())


def test_its_door_is_ours_alone(kept: Puppet) -> None:
    mode = os.stat(doors.path_of(kept.pid)).st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(os.stat(base()).st_mode) == 0o700


def test_another_user_is_turned_away(kept: Puppet) -> None:
    """Also one who can come to the door: the modes are not all that guards it."""
    if os.geteuid() != 0:
        missing("root, to become another user,")
    os.chmod(base(), 0o755)
    os.chmod(doors.path_of(kept.pid), 0o666)
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.chdir(base())
            os.setgid(65534)
            os.setuid(65534)
            door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            door.connect(f"keeper-{kept.pid}.sock")
            doors.send(door, doors.SERVE, "id", "/nowhere/at/all")
            code = int(doors.receive(door, fds=2) != ([], []))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert kept(f"call({nr('getppid')})") == os.getpid()


def test_a_refusal_is_handed_on(orders: socket.socket) -> None:
    with pytest.raises(AttachError, match="there is no process"):
        ordering.order(orders, 2**22 + 1, FILTER, TRAPS)
    assert not os.path.exists(base())


def test_a_door_that_nobody_answers_is_removed(tmp_path: Path) -> None:
    assert doors.connect(4242) is None
    Path(base()).mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(doors.path_of(4242))
    assert doors.connect(4242) is None
    assert os.listdir(base()) == []


def test_what_a_killed_session_had_received_is_answered(kept: Puppet) -> None:
    session = connected(kept.pid)
    doors.send(session, doors.SERVE, "id", "/nowhere/at/all")
    _, (listener, calls) = doors.receive(session, fds=2)
    ledger = Ledger(calls)
    noting = ledger.listener(listener)
    kept.tell(f"call({nr('getppid')})")
    assert noting.receive()
    session.close()
    assert kept.hear() == os.getpid()
    noting.close()
    ledger.close()


def test_what_a_killed_session_leaves_that_kept_a_process_itself_is_removed(
    orders: socket.socket, tmp_path: Path
) -> None:
    left = tmp_path / "mirrord" / "sessions" / "one"
    left.mkdir(parents=True, mode=0o700)
    Path(base()).chmod(0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(doors.path_of(4242))
    ordering.order_to_clean(orders, SessionDirectory("one", str(left)))
    with doors.open_at(doors.path_of(4243)):
        orders.close()
        until("what it has left is removed", lambda: os.listdir(base()) == ["keeper-4243.sock"])
    doors.sweep()
    assert os.listdir(base()) == []
