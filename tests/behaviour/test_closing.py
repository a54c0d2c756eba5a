"""How connections end, and how much they carry."""

from collections.abc import Callable

import pytest

from ..conftest import Line, Mirrord, Peer
from ..support.build import command
from ..support.processes import Chain, memory
from ..support.running import Runner, end_input, read_line, write
from .soak import BULK, CONNECTIONS, SLOW_BULK

HOST = "10.244.0.1"
MIB = 1 << 20
MOST = 64 * MIB


@pytest.mark.sample("ours0|ours2")
@pytest.mark.both_engines
@pytest.mark.parametrize(
    ("way", "ours", "theirs"),
    [
        ("half-close", ["shutdown ok", "read 500000 then end"], "read 1000000 then end"),
        ("their-half-close", ["read 500000 then end"], "read 1000000 then end"),
        ("reset", [], "read 0 then ECONNRESET"),
        ("their-reset", ["read 0 then ECONNRESET", "write EPIPE"], "reset"),
    ],
)
def test_an_end_passes_through(
    mirrord: Mirrord, peer: Callable[..., Peer], way: str, ours: list[str], theirs: str
) -> None:
    other = peer(way)

    assert mirrord(*command("closing"), way, HOST, other.port).lines == ours
    assert other.read() == theirs


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_what_is_closed_locally_is_closed_remotely(
    line: Line, runner: Runner, peer: Callable[..., Peer], how: str
) -> None:
    other = peer("closed")
    code = (
        "import socket, sys\n"
        f"connection = socket.create_connection(('{HOST}', {other.port}))\n"
        "connection.recv(1); print('ready', flush=True); sys.stdin.read()\n"
    )
    with runner.start(line(command("bulk")[0], "-S", "-c", code, options=["-q"])) as process:
        assert read_line(process) == "ready"
        if how == "kill":
            process.kill()
        else:
            end_input(process)
        assert other.read() == "closed"


@pytest.mark.soak
@pytest.mark.parametrize(
    ("way", "size", "far"),
    [
        ("up", BULK, "swallow"),
        ("up", SLOW_BULK, "slowly"),
        ("down", BULK, "pour"),
        ("down", SLOW_BULK, "pour"),
    ],
    ids=["up", "up-slow-reader", "down", "down-slow-reader"],
)
def test_bulk_is_whole_and_the_supervisor_stays_small(
    line: Line, runner: Runner, peer: Callable[..., Peer], way: str, size: int, far: str
) -> None:
    other = peer(far, str(size))
    pause = "0.001" if size == SLOW_BULK else "0"
    with runner.start(
        line(*command("bulk"), way, HOST, other.port, str(size), pause, options=["-q"])
    ) as process:
        assert read_line(process) == "connected"
        supervisor = Chain.of(process.pid).supervisor
        before = memory(supervisor)
        write(process, "\n")
        sent_or_received = read_line(process)
        most = memory(supervisor, "VmHWM")
        assert other.read() == sent_or_received
        assert most - before < MOST
        end_input(process)
        assert process.wait(20) == 0


def test_a_reader_that_stands_still_holds_the_writer(
    line: Line, runner: Runner, peer: Callable[..., Peer]
) -> None:
    other = peer("hold")
    with runner.start(line(*command("flood"), HOST, other.port, options=["-q"])) as process:
        words = read_line(process).split()
        most = memory(Chain.of(process.pid).supervisor, "VmHWM")
        end_input(process)
        assert process.wait(20) == 0
        other.release()
    assert words[:2] == ["full", "after"]
    assert int(words[2]) < 64
    assert most < 2 * MOST


@pytest.mark.soak
def test_many_connections_at_once(mirrord: Mirrord) -> None:
    line = [*command("burst-python"), "10.96.0.20", "7", str(CONNECTIONS), "echo"]

    assert mirrord(*line, timeout=240).lines == [str(CONNECTIONS)]
