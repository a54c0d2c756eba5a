"""The whole table, and what must hold for every handler in it."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirrord_seccomp import bpf
from mirrord_seccomp.rules import Action
from mirrord_seccomp.syscalls import Arch, current_arch, number, table

from mirrord.dispatch import table as module
from mirrord.dispatch.row import Row
from mirrord.dispatch.table import Table, rows_of
from mirrord.link.addresses import Peer, pack
from mirrord.syscall import CONTINUE, Continue, Elsewhere, Fail, GiveFd, Gone, Handler, Return, Verdict, Wait

from .fakes import PAGE, REMOTE, REMOTE6, FakeCall, Stage, Theatre

ALL_OFF: dict[str, Any] = {"network": False, "fs": "local", "hostname": False}
EVERYTHING: dict[str, Any] = {
    "network": {"outgoing": {"unix_streams": ["^/run/remote"]}},
    "fs": {"mode": "read", "mapping": {"^/moved": "/tmp/nowhere-at-all/below"}, "not_found": ["^/absent"]},
}
EXECUTION: Final = {"execve", "execveat", "unshare", "setns", "chroot", "pivot_root"}
SILENT: Final = EXECUTION | {"uname"}
"""Calls whose decision reads nothing of the program."""


def rows(stage: Stage) -> list[Row]:
    return list(module.rows_of(stage.world))


def trapped(stage: Stage) -> dict[str, Handler]:
    return {row.rule.syscall: row.handler for row in rows(stage) if row.handler is not None}


@pytest.mark.parametrize("configuration", [{}, EVERYTHING, ALL_OFF], ids=["default", "everything", "off"])
def test_every_row_is_of_a_call_and_every_trap_has_a_handler(
    theatre: Theatre, configuration: dict[str, Any]
) -> None:
    known = {name for arch in Arch for name in table(arch)}
    for row in rows(theatre.stage(configuration)):
        assert row.rule.syscall in known
        assert (row.rule.action == Action.NOTIFY) is (row.handler is not None)


@pytest.mark.parametrize("arch", list(Arch))
def test_the_filter_compiles_for_both_architectures(theatre: Theatre, arch: Arch) -> None:
    stage = theatre.stage(EVERYTHING)
    program = bpf.compile([row.rule for row in rows(stage)], arch)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4096


def test_every_trap_of_the_filter_has_a_handler(theatre: Theatre) -> None:
    stage = theatre.stage(EVERYTHING)
    made = Table(rows_of(stage.world))
    numbers = {
        number(row.rule.syscall, current_arch()) for row in rows(stage) if row.rule.action == Action.NOTIFY
    }
    assert set(made.handlers) == numbers - {None}
    assert made.filter == bpf.compile([row.rule for row in rows(stage)], current_arch())


def test_with_all_planes_off_only_the_process_plane_is_trapped(theatre: Theatre) -> None:
    assert set(trapped(theatre.stage(ALL_OFF, hostname=None))) == EXECUTION


def test_without_files_no_file_call_is_trapped(theatre: Theatre) -> None:
    names = set(trapped(theatre.stage({"fs": "local"})))
    assert {"connect", "uname"} <= names
    assert not names & {"openat", "open", "newfstatat", "statx", "readlink"}


def test_without_a_network_no_socket_call_is_trapped(theatre: Theatre) -> None:
    names = set(trapped(theatre.stage({"network": False})))
    assert "openat" in names
    assert not names & {"connect", "sendto", "recvmsg", "getsockname", "bind", "listen", "accept"}


def test_reading_and_writing_are_never_trapped(theatre: Theatre) -> None:
    names = set(trapped(theatre.stage(EVERYTHING)))
    assert not names & {"read", "write", "fstat", "lseek", "mmap", "futex", "epoll_wait", "poll", "close"}


def handlers(theatre: Theatre) -> dict[str, Handler]:
    return trapped(theatre.stage(EVERYTHING))


CHANGES: Final[dict[str, tuple[int | None, ...]]] = {
    **dict.fromkeys(("mkdir", "mknod", "unlink", "rmdir"), (None,)),
    **dict.fromkeys(("mkdirat", "mknodat", "unlinkat", "fchmodat", "fchmodat2", "fchownat"), (-100, None)),
    **dict.fromkeys(("utimensat", "futimesat"), (-100, None)),
    "symlink": (PAGE, None),
    "symlinkat": (PAGE, -100, None),
    "link": (PAGE, None),
    "linkat": (-100, PAGE, -100, None),
    "rename": (PAGE, None),
    **dict.fromkeys(("renameat", "renameat2"), (-100, PAGE, -100, None)),
    **dict.fromkeys(("chmod", "chown", "lchown", "truncate", "utime", "utimes"), (None,)),
    **dict.fromkeys(("setxattr", "lsetxattr", "removexattr", "lremovexattr"), (None,)),
}
"""Arguments of the calls that change something; None is the path that matters."""
OPENED: Final = {"fchmod", "fchown", "fsetxattr", "fremovexattr", "fgetxattr", "flistxattr", "fstatfs"}
"""Calls about a descriptor alone."""


NAMES: Final = sorted(
    {"connect", "listen", "bind", "accept", "accept4", "getsockname", "getpeername", "getsockopt"}
    | {"sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg"}
    | {"open", "creat", "openat", "openat2", "stat", "lstat", "newfstatat", "statx"}
    | {"access", "faccessat", "faccessat2", "readlink", "readlinkat"}
    | {"getxattr", "lgetxattr", "listxattr", "llistxattr", "statfs"}
    | OPENED
    | {"chdir", "getcwd", "inotify_add_watch", "name_to_handle_at"}
    | CHANGES.keys()
    | SILENT
)


def test_these_are_all_handlers(theatre: Theatre) -> None:
    assert sorted(handlers(theatre)) == NAMES


ADDRESSED: Final = {
    "connect": (3, None, 16),
    "bind": (3, None, 16),
    "sendto": (3, PAGE, 1, 0, None, 16),
    "sendmsg": (3, None, 0),
    "sendmmsg": (3, None, 1, 0),
    "open": (None, 0, 0),
    "creat": (None, 0),
    "openat": (-100, None, 0, 0),
    "openat2": (-100, None, PAGE, 24),
    "stat": (None, PAGE),
    "lstat": (None, PAGE),
    "newfstatat": (-100, None, PAGE, 0),
    "statx": (-100, None, 0, 0xFFF, PAGE),
    "access": (None, 4),
    "faccessat": (-100, None, 4),
    "faccessat2": (-100, None, 4, 0),
    "readlink": (None, PAGE, 100),
    "readlinkat": (-100, None, PAGE, 100),
    "statfs": (None, PAGE),
    "chdir": (None,),
    "inotify_add_watch": (3, None, 1),
    "name_to_handle_at": (-100, None),
    "execve": (None,),
    "execveat": (-100, None),
    **CHANGES,
}
"""Arguments of each call that begins with reading a pointer; None is where that is."""
BAD: Final = [0, 1, PAGE - 1, PAGE + 4096, 2**47, 2**63, 2**64 - 1]


@pytest.mark.parametrize("name", sorted(ADDRESSED))
def test_a_bad_pointer_is_efault(theatre: Theatre, name: str) -> None:
    handler = handlers(theatre)[name]
    with socket.socket() as sock:
        for bad in BAD:
            call = FakeCall(*(bad if argument is None else argument for argument in ADDRESSED[name]))
            call.descriptors[3] = sock.fileno()
            with pytest.raises(OSError) as caught:
                handler(call)
            assert caught.value.errno == errno.EFAULT


def local_calls(name: str, call: FakeCall) -> list[tuple[int, ...]]:
    """Return arguments of a call that concerns nothing remote."""
    path, relative = call.place(b"/usr/bin/env\0"), call.place(b"some/file\0")
    peer = call.place(pack(REMOTE, socket.AF_INET))
    unix = call.place(struct.pack("=H", socket.AF_UNIX) + b"/run/local\0")
    plain = call.place(struct.pack("=QI4xQQQQi4x", 0, 0, 0, 0, 0, 0, 0) + bytes(8))
    how = call.place(bytes(24))
    room, length = call.room(128), call.place(struct.pack("=i", 128))
    calls: dict[str, list[tuple[int, ...]]] = {
        "connect": [(3, unix, 13), (3, call.place(bytes(16)), 16), (3, peer, 1), (3, peer, 0)],
        "bind": [(3, call.place(pack(Peer("127.0.0.1", 0), socket.AF_INET)), 16), (3, unix, 13)],
        "listen": [(3, 5)],
        "accept": [(3, room, length)],
        "accept4": [(3, room, length, 0), (3, room, length, 1)],
        "getsockname": [(3, room, length)],
        "getpeername": [(3, room, length)],
        "getsockopt": [(3, 1, 4, room, length)],
        "sendto": [(3, room, 1, 0, unix, 13)],
        "sendmsg": [(3, plain, 0)],
        "sendmmsg": [(3, plain, 1, 0), (3, 0, 0, 0)],
        "recvfrom": [(3, room, 1, 0, room, length)],
        "recvmsg": [(3, plain, 0)],
        "recvmmsg": [(3, plain, 1, 0)],
        "openat2": [(-100, path, how, 24), (-100, relative, how, 24), (-100, path, how, 8)],
    }
    if name in CHANGES:
        first = call.place(b"first\0")
        return [
            tuple(place if one is None else first if one == PAGE else one for one in CHANGES[name])
            for place in (path, relative)
        ]
    if name in OPENED:
        return [(3, room, room, 0)]
    before = {
        "inotify_add_watch": 1,
        "name_to_handle_at": 1,
        "execveat": 1,
        "openat": 1,
        "newfstatat": 1,
        "statx": 1,
        "faccessat": 1,
        "faccessat2": 1,
        "readlinkat": 1,
    }
    if name in calls:
        return calls[name]
    rest = (room, 100) if name.startswith("readlink") else (0, 0)
    return [(*(-100,) * before.get(name, 0), place, *rest) for place in (path, relative)]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "uname"])
def test_a_local_decision_continues_and_leaves_the_link_alone(theatre: Theatre, name: str) -> None:
    """The stage has no agent: a request would be an AssertionError."""
    handler = handlers(theatre)[name]
    with socket.socket() as sock:
        call = FakeCall()
        call.descriptors[3] = sock.fileno()
        for arguments in local_calls(name, call):
            assert handler(call.called(*arguments)) is CONTINUE


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SILENT])
def test_a_thread_that_is_gone_is_no_other_error(theatre: Theatre, name: str) -> None:
    call = FakeCall()
    arguments = local_calls(name, call)[0]
    call.gone = True
    try:
        assert handlers(theatre)[name](call.called(*arguments)) is CONTINUE
    except Gone:
        return


class Crowd:
    """A program that has one descriptor of each kind, and memory with something of each kind."""

    def __init__(self, stack: ExitStack) -> None:
        self.call = FakeCall(size=16_384)
        kinds = [
            (socket.AF_INET, socket.SOCK_STREAM),
            (socket.AF_INET6, socket.SOCK_STREAM),
            (socket.AF_INET, socket.SOCK_DGRAM),
            (socket.AF_INET6, socket.SOCK_DGRAM),
            (socket.AF_UNIX, socket.SOCK_STREAM),
            (socket.AF_UNIX, socket.SOCK_DGRAM),
            (socket.AF_NETLINK, socket.SOCK_RAW),
        ]
        for number_, kind in enumerate(kinds, 3):
            sock = stack.enter_context(socket.socket(*kind))
            sock.setblocking(False)
            self.call.descriptors[number_] = sock.fileno()
        self.call.descriptors[10] = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, self.call.descriptors[10])
        self.call.paths[10] = b"/etc"
        place = self.call.place
        peers = [place(pack(REMOTE, socket.AF_INET)), place(pack(REMOTE6, socket.AF_INET6))]
        peers.append(place(pack(REMOTE, socket.AF_INET6)))
        paths = [
            place(path + b"\0")
            for path in (
                b"",
                b"/",
                b"/etc/hosts",
                b"/srv/x",
                b"a/b",
                b"/moved/x",
                b"/absent",
                b"/..",
                b"\xff",
            )
        ]
        unix = [place(struct.pack("=H", socket.AF_UNIX) + path) for path in (b"/run/remote\0", b"\0a", b"")]
        vector = place(struct.pack("=QQ", self.call.room(64), 64))
        length = place(struct.pack("=i", 28))
        message = struct.pack("=QI4xQQQQi4x", peers[0], 16, vector, 1, vector, 32, 0) + bytes(8)
        self.pointers = [*peers, *paths, *unix, vector, length, place(message * 2), place(bytes(64))]


@contextmanager
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(stack)


def settle(stage: Stage, verdict: Verdict) -> None:
    """Begin what waits and give up on it; close what is given."""
    if isinstance(verdict, GiveFd):
        os.close(verdict.fd)
    if isinstance(verdict, Wait):

        async def attempt() -> Verdict:
            task = asyncio.ensure_future(verdict.answer())
            for _ in range(5):
                await asyncio.sleep(0)
            task.cancel()
            return await task

        try:
            settle(stage, stage.loop.run_until_complete(attempt()))
        except (OSError, Gone, Elsewhere, asyncio.CancelledError):
            return


def surprises(handler: Callable[[FakeCall], Verdict], stage: Stage, call: FakeCall) -> None:
    """Let anything through but the errors that a handler may raise."""
    try:
        verdict = handler(call)
    except (OSError, Gone, Elsewhere):
        return
    assert isinstance(verdict, Continue | Return | Fail | GiveFd | Wait)
    settle(stage, verdict)


def arguments(pointers: list[int]) -> st.SearchStrategy[list[int]]:
    one = st.one_of(
        st.sampled_from(pointers),
        st.integers(-1, 12),
        st.sampled_from([-100, 16, 24, 28, 64, 110, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1]),
        st.integers(0, 2**64 - 1),
        st.sampled_from([os.O_CREAT, os.O_DIRECTORY, 0x20000000, 0x40, 0x2000, 0x20]),
    )
    return st.lists(one, min_size=6, max_size=6)


@pytest.mark.parametrize("name", ["open", "openat"])
@pytest.mark.parametrize(("flags", "mode"), [(0, 2**64 - 100), (0, 2**32), (2**32, 0), (2**63, 0)])
def test_an_unused_mode_may_be_any_number(theatre: Theatre, name: str, flags: int, mode: int) -> None:
    """Without O_CREAT the register of the mode is whatever it is; of both only the lower half counts."""
    call = FakeCall()
    path = call.place(b"/moved/x\0")
    call.called(*(() if name == "open" else (-100,)), path, flags, mode)
    with pytest.raises(FileNotFoundError):
        handlers(theatre)[name](call)


@pytest.mark.parametrize("name", NAMES)
def test_no_arguments_surprise_a_handler(theatre: Theatre, name: str) -> None:
    """Whatever a program passes, a handler decides or raises OSError, Gone or Elsewhere."""
    stage = theatre.stage(EVERYTHING, agent=True)
    handler = trapped(stage)[name]
    stage.agent.lose()
    with crowd() as program:

        @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(arguments(program.pointers))
        def attempt(values: list[int]) -> None:
            surprises(handler, stage, program.call.called(*values))

        attempt()


@pytest.mark.parametrize("name", sorted(set(NAMES) - SILENT))
def test_no_memory_surprises_a_handler(theatre: Theatre, name: str) -> None:
    """Pointers are good, and lead to random bytes."""
    stage = theatre.stage(EVERYTHING, agent=True)
    handler = trapped(stage)[name]
    stage.agent.lose()
    with crowd() as program:
        good = [PAGE + at for at in range(0, 1024, 64)]
        number_ = st.integers(3, 10) | st.sampled_from([-100, 16, 28, 64])

        @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(
            st.binary(min_size=256, max_size=1024),
            st.lists(number_ | st.sampled_from(good), min_size=6, max_size=6),
        )
        def attempt(content: bytes, values: list[int]) -> None:
            program.call.memory[: len(content)] = content
            surprises(handler, stage, program.call.called(*values))

        attempt()
