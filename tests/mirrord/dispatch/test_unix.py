"""Unix sockets: which are the target's, and what the program is told of them."""

import errno
import socket
import struct

import pytest
from mirrord_agent.wire.messages import Address, Failed, Opened, OpenUnix, Reply, Request

from mirrord.dispatch.sockets import cookie
from mirrord.dispatch.unix import Unix
from mirrord.syscall import CONTINUE, Elsewhere, Fail, Return, Verdict

from .fakes import SocketCall, Stage, Theatre

REMOTE = b"/var/run/app.sock"
NAME_DAEMON = b"/run/nscd/socket"


@pytest.fixture
def remote(theatre: Theatre) -> Stage:
    """A stage by whose rules one path, and one abstract name, are the target's."""
    unix = {"network": {"outgoing": {"unix_streams": ["^/var/run/app", "hidden"]}}}
    return theatre.stage(unix, agent=True)


def connect(stage: Stage, sock: socket.socket, path: bytes, *, foreign: bool = False) -> Verdict:
    call = SocketCall(sock)
    call.foreign = foreign
    return Unix(stage.world).connect(call.called(3), struct.pack("=H", socket.AF_UNIX) + path)


def opened(request: Request) -> Reply | None:
    return Opened(local=Address(host="", port=0)) if isinstance(request, OpenUnix) else None


def end(stage: Stage) -> None:
    """Break off every stream, and wait until all is forgotten."""
    for asked in stage.agent.asked(OpenUnix):
        stage.agent.reset(asked.stream)
    stage.until(lambda: not stage.world.unix)


def test_a_local_path_is_the_kernels(stage: Stage) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        for path in (b"/tmp/x\0", b"\0abstract", b"", REMOTE + b"\0"):
            assert connect(stage, sock, path) is CONTINUE


def test_a_name_daemon_is_refused_while_dns_is_remote(theatre: Theatre) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        assert connect(theatre.stage(), sock, NAME_DAEMON + b"\0") == Fail(errno.ECONNREFUSED)
        assert connect(theatre.stage({"network": {"dns": False}}), sock, NAME_DAEMON) is CONTINUE


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_path_of_the_target_is_connected_there(remote: Stage, kind: int) -> None:
    remote.agent.answer = opened
    with socket.socket(socket.AF_UNIX, kind) as sock:
        verdict = connect(remote, sock, REMOTE + b"\0")
        assert remote.run(verdict) == Return(0)
        (asked,) = remote.agent.asked(OpenUnix)
        assert (asked.path, asked.kind) == (REMOTE, "stream" if kind == socket.SOCK_STREAM else "seqpacket")
        assert remote.world.unix.path(cookie(sock)) == REMOTE
        sock.send(b"hello")
        remote.until(lambda: remote.agent.data.get(asked.stream) == [b"hello"])
    end(remote)


def test_the_program_is_told_the_remote_path(remote: Stage) -> None:
    remote.agent.answer = opened
    for path in (REMOTE, b"\0hidden"):
        with socket.socket(socket.AF_UNIX) as sock:
            assert Unix(remote.world).reported(sock, local=False) is None
            assert remote.run(connect(remote, sock, path)) == Return(0)
            expected = struct.pack("=H", socket.AF_UNIX) + path + (b"" if path.startswith(b"\0") else b"\0")
            assert Unix(remote.world).reported(sock, local=False) == expected
            assert Unix(remote.world).reported(sock, local=True) is None
        with socket.socket() as other:
            assert Unix(remote.world).reported(other, local=False) is None
    end(remote)


def test_the_targets_errno_is_the_programs(remote: Stage) -> None:
    remote.agent.answer = lambda request: Failed(errno=errno.EACCES)
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(PermissionError):
            remote.run(connect(remote, sock, REMOTE))
        assert not remote.world.unix
        assert sock.getsockname() == ""


def test_datagrams_and_other_namespaces_are_left_alone(remote: Stage) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        assert connect(remote, sock, REMOTE) is CONTINUE
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(Elsewhere):
        connect(remote, sock, REMOTE, foreign=True)
