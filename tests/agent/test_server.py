import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mirrord_agent.wire.channel import ChannelClosed
from mirrord_agent.wire.errors import HandshakeError
from mirrord_agent.wire.handshake import ClientHandshake, new_key
from mirrord_agent.wire.messages import (
    Environment,
    GetEnvironment,
    GetHostname,
    GetStatistics,
    Hostname,
    Opened,
    OpenTcp,
    Statistics,
)
from mirrord_agent.wire.websocket import WebSocket

from mirrord.errors import LinkError
from mirrord.link.client import connect
from mirrord.link.resuming import prove

from .running import KEY, PATIENCE, RunningAgent, linked, on_loop, running_agent, tool, until
from .test_linux import needs_root
from .test_target import process


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    """An agent for this very process."""
    with running_agent(tmp_path / "agent.sock", os.getpid()) as running:
        yield running


def test_it_serves_its_client_and_ends_with_it(agent: RunningAgent) -> None:
    assert agent.ready.startswith("mirrord-agent 0.1.0 ready key=")

    @on_loop
    async def check() -> None:
        async with linked(agent) as link:
            assert link.welcome.pid == os.getpid()
            assert link.welcome.hostname == socket.gethostname().encode()
            environment = await link.channel.request(GetEnvironment(), Environment)
            assert (b"PATH", os.environb[b"PATH"]) in environment.variables
            assert not agent.path.exists() or stat_is_private(agent.path)

    check()
    status, said = agent.ended()
    assert (status, "the client is gone: the test has ended" in said) == (0, True)
    assert not agent.path.exists()


def stat_is_private(path: Path) -> bool:
    """Tell whether only this user may connect."""
    return path.stat().st_mode & 0o777 == 0o600


def test_the_socket_is_private(agent: RunningAgent) -> None:
    assert stat_is_private(agent.path)


def test_another_client_is_refused_and_the_right_one_served_after(agent: RunningAgent) -> None:
    @on_loop
    async def check() -> None:
        with pytest.raises(LinkError, match="the agent refused: the client's key is not the session's"):
            await connect(agent.endpoint, new_key())
        async with linked(agent) as link:
            await link.channel.request(GetHostname(), Hostname)

    check()


def test_noise_is_outlived(agent: RunningAgent) -> None:
    for noise in (b"", b"\0" * 10_000, b"GET / HTTP/1.1\r\n\r\n", os.urandom(5_000)):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(agent.path))
            client.sendall(noise)

    @on_loop
    async def check() -> None:
        async with linked(agent) as link:
            await link.channel.request(GetHostname(), Hostname)

    check()


def test_silent_connections_hold_a_client_up_only_as_long_as_they_are_there(agent: RunningAgent) -> None:
    with ExitStack() as silent:
        ends = [silent.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(16)]
        for end in ends:
            end.connect(str(agent.path))

        @on_loop
        async def check() -> None:
            linking = asyncio.create_task(connect(agent.endpoint, KEY))
            await until(lambda: _waits_at(agent.path))
            assert not linking.done()
            ends[0].close()
            link = await linking
            await link.channel.request(GetHostname(), Hostname)
            link.channel.close("the test has ended")
            await link.channel.wait_closed()

        check()


def _waits_at(path: Path) -> bool:
    """Tell whether a connection waits to be accepted: the queue of a listener (sock_diag(7))."""
    said = subprocess.run([tool("ss"), "-xlH", "src", str(path)], capture_output=True, text=True, check=True)
    return said.stdout.split()[2] == "1"


def test_there_is_one_client_only(agent: RunningAgent) -> None:
    @on_loop
    async def check() -> None:
        async with linked(agent):
            with pytest.raises(LinkError, match=r"cannot be reached|has a client already"):
                await connect(agent.endpoint, KEY)

    check()


async def connected(agent: RunningAgent, key: Ed25519PrivateKey, received: int | None) -> WebSocket:
    """Begin a session, or resume one, without serving it; raise HandshakeError."""
    websocket = await agent.endpoint.open()
    handshake = ClientHandshake(key=key, agent_key=agent.endpoint.public_key, received=received)
    answer = await prove(websocket, handshake)
    if received is None:
        handshake.finish(answer)
    else:
        handshake.resumed(answer)
    return websocket


def test_a_session_is_resumed_by_its_own_client_only(agent: RunningAgent) -> None:
    @on_loop
    async def check() -> None:
        with pytest.raises(HandshakeError, match="there is no session to resume"):
            await connected(agent, KEY, 0)
        async with linked(agent) as link:
            await link.channel.request(GetHostname(), Hostname)
            with pytest.raises(HandshakeError, match="the client's key is not the session's"):
                await connected(agent, new_key(), 0)
            with pytest.raises(HandshakeError, match="do not agree on what has arrived"):
                await connected(agent, KEY, 2)
            await link.channel.request(GetHostname(), Hostname)
            (await connected(agent, KEY, 2)).close("the heir has ended")

    check()
    status, said = agent.ended()
    assert (status, "the client is gone: the heir has ended" in said) == (0, True)


def test_it_ends_when_its_client_does_not_come_back(tmp_path: Path) -> None:
    with running_agent(tmp_path / "agent.sock", os.getpid(), "--patience", "0.2") as agent:

        @on_loop
        async def check() -> None:
            websocket = await connected(agent, KEY, None)
            websocket.abort("killed")
            await websocket.wait_closed()

        check()
        status, said = agent.ended()
    assert (status, said.splitlines()[-1]) == (
        0,
        "mirrord-agent: ended: the client is gone: the other side closed the connection",
    )


def test_its_death_fails_what_is_pending_at_once(agent: RunningAgent) -> None:
    @on_loop
    async def check() -> None:
        link = await connect(agent.endpoint, KEY)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            with socket.create_connection(listener.getsockname()):
                host, port = listener.getsockname()
                requests = [
                    asyncio.create_task(
                        link.channel.request(
                            OpenTcp(stream=link.channel.open_stream().id, host=host, port=port), Opened
                        )
                    )
                    for _ in range(20)
                ]
                while (await link.channel.request(GetStatistics(), Statistics)).in_flight < 21:
                    continue
                agent.process.kill()
                for outcome in await asyncio.gather(*requests, return_exceptions=True):
                    assert isinstance(outcome, ChannelClosed)
                    assert outcome.reason == "the other side closed the connection"
        await link.channel.wait_closed()

    check()


def test_it_ends_when_its_target_does(tmp_path: Path) -> None:
    with process() as pid, running_agent(tmp_path / "agent.sock", pid) as agent:

        @on_loop
        async def check() -> None:
            async with linked(agent) as link:
                os.kill(pid, signal.SIGKILL)
                assert await link.channel.closed == "the agent ended: the target has ended"

        check()
        assert agent.ended()[0] == 0


def test_it_ends_with_its_standard_input(tmp_path: Path) -> None:
    with running_agent(tmp_path / "agent.sock", os.getpid(), "--until-stdin-closes") as agent:
        assert agent.process.poll() is None
        status, said = agent.ended()
        assert (status, said) == (0, "mirrord-agent: ended: its creator has ended\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_in_order_by_a_signal(agent: RunningAgent, number: signal.Signals) -> None:
    agent.process.send_signal(number)
    assert agent.ended() == (0, f"mirrord-agent: ended: signal {number.name}\n")
    assert not agent.path.exists()


@contextmanager
def pod(*options: str) -> Iterator[int]:
    """Start a process in namespaces of its own."""
    with process(tool("unshare"), *options) as pid:
        yield pid


@needs_root
def test_it_acts_in_the_targets_namespaces(tmp_path: Path) -> None:
    script = "hostname pod-7; ip link set lo up; ip address add 10.1.2.3 dev lo"
    with pod("-nu") as pid:
        subprocess.run(["nsenter", "-t", str(pid), "-n", "-u", "sh", "-c", script], check=True)
        with running_agent(tmp_path / "agent.sock", pid) as agent:

            @on_loop
            async def check() -> None:
                async with linked(agent) as link:
                    assert link.welcome.hostname == b"pod-7"
                    assert link.welcome.addresses == ("10.1.2.3",)
                    subprocess.run(["nsenter", "-t", str(pid), "-u", "hostname", "pod-8"], check=True)
                    assert (await link.channel.request(GetHostname(), Hostname)).name == b"pod-8"

            check()


ORDINARY = """
import os, sys
os.setgroups([]); os.setresgid(1234, 1234, 1234); os.setresuid(1234, 1234, 1234)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@needs_root
def test_an_ordinary_user_serves_a_user_namespace_of_theirs(common: Path) -> None:
    """As the sandbox does it: the agent is started outside, by the owner of the target's user namespace."""
    theirs = common / "theirs"
    theirs.mkdir(0o700)
    os.chown(theirs, 1234, 1234)
    ordinary = (sys.executable, "-c", ORDINARY)
    with process(*ordinary, tool("unshare"), "-Urnu") as pid:
        inside = (tool("nsenter"), "-t", str(pid), "-U", "--preserve-credentials")
        for wrapper in (ordinary, (*ordinary, *inside)):
            with running_agent(theirs / "agent.sock", pid, wrapper=wrapper) as agent:
                check_it_serves(agent)


def check_it_serves(agent: RunningAgent) -> None:
    """Check that an agent is in a network of its own."""

    @on_loop
    async def check() -> None:
        async with linked(agent) as link:
            assert link.welcome.addresses == ()
            await link.channel.request(GetEnvironment(), Environment)

    check()
    assert agent.process.wait(PATIENCE) == 0
