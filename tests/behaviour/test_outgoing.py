"""Outgoing TCP: what connects, what does not, and how it says so."""

from collections.abc import Callable

import pytest

from ..conftest import Mirrord
from ..support.build import SYSTEM_PYTHON, command
from ..support.needs import tool
from ..support.relay import Gather, Relay
from ..support.running import Outcome

HOST = "echo.default.svc.cluster.local"
ECHO4, ECHO6 = "10.96.0.20", "fd00:10:96::20"
MAPPED = f"::ffff:{ECHO4}"
PROBES = {
    "go": ("probe-go",),
    "node": ("probe-node",),
    "python": ("probe-python",),
    "java-socket": ("probe-java", "socket"),
    "java-nio": ("probe-java", "nio"),
    "java-http": ("probe-java", "http"),
}
CURL_CODES = {0: "ok", 7: "refused", 28: "timeout"}


@pytest.mark.sample("80-ok-(python|java-nio)|9-refused-(go|node)|timeout-go")
@pytest.mark.both_engines
@pytest.mark.parametrize("program", PROBES)
@pytest.mark.parametrize(("port", "outcome"), [("80", "ok"), ("9", "refused"), ("10", "timeout")])
def test_a_connection_ends_as_the_service_has_it(
    mirrord: Mirrord, program: str, port: str, outcome: str
) -> None:
    name, *way = PROBES[program]
    patience = "1" if outcome == "timeout" else "30"

    session = mirrord(*command(name), *way, HOST, port, patience, options=["-v"])

    assert session.lines == [outcome]
    assert session.statistics["open_tcp"] >= 1


@pytest.mark.parametrize(("port", "outcome"), [("80", "ok"), ("9", "refused"), ("10", "timeout")])
def test_curl_says_the_same(mirrord: Mirrord, port: str, outcome: str) -> None:
    patience = "1" if outcome == "timeout" else "30"
    line = [tool("curl"), "-4sS", "-o", "/dev/null", "--connect-timeout", patience, f"http://{HOST}:{port}/"]

    assert CURL_CODES[mirrord(*line).code] == outcome


@pytest.mark.parametrize("program", ["go", "node", "python"])
def test_connects_started_together_are_asked_for_together(
    mirrord: Mirrord, slow: Callable[..., Relay], program: str
) -> None:
    link = slow(gather=Gather("open_tcp", 500))

    session = mirrord(*command(f"burst-{program}"), ECHO4, "7", "500", env=link.env)

    assert session.lines == ["500"]
    assert link.requests.counts["open_tcp"] == 500
    assert link.requests.together["open_tcp"] == 500


@pytest.mark.sample("-(bound-10.96.0.20-9|blocking-10.96.0.20-7|non-blocking-fd.*9)$")
# A first line of each test: the way and the address; then whatever the pod itself prints.
@pytest.mark.parametrize("port", ["7", "9"])
@pytest.mark.parametrize("host", [ECHO4, ECHO6, MAPPED])
@pytest.mark.parametrize("way", ["blocking", "non-blocking", "bound"])
@pytest.mark.both_engines
def test_a_socket_is_as_in_the_pod(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], way: str, host: str, port: str
) -> None:
    line = [*command("connects"), way, host, port]

    assert mirrord(*line).lines == in_pod(*line).lines


@pytest.mark.parametrize("host", [ECHO4, ECHO6, MAPPED])
def test_connecting_twice(mirrord: Mirrord, host: str) -> None:
    accepted = dict(line.split(" ", 1) for line in mirrord(*command("connects"), "again", host, "7").lines)
    refused = dict(line.split(" ", 1) for line in mirrord(*command("connects"), "again", host, "9").lines)

    # what the second and third say depends on how far away the service is
    assert accepted["first"] == refused["first"] == "EINPROGRESS"
    assert accepted["second"] in ("EALREADY", "ok")
    assert accepted["third"] in ("ok", "EISCONN")
    assert accepted["fourth"] == "EISCONN"
    assert refused["second"] in ("EALREADY", "ECONNREFUSED")
    assert refused["third"] in ("ECONNREFUSED", "EINPROGRESS")


@pytest.mark.parametrize("host", [ECHO4, ECHO6])
def test_multipath_sockets_are_not_to_be_had(mirrord: Mirrord, host: str) -> None:
    assert mirrord(*command("connects"), "mptcp", host, "7").lines == ["no MPTCP"]


@pytest.mark.parametrize("host", [ECHO6, MAPPED])
def test_v6_only_sockets(mirrord: Mirrord, in_pod: Callable[..., Outcome], host: str) -> None:
    line = [*command("connects"), "v6only", host, "7"]

    assert mirrord(*line).lines == in_pod(*line).lines


@pytest.mark.sample("10.96.0.20")
@pytest.mark.both_engines
@pytest.mark.parametrize("host", [ECHO4, ECHO6])
def test_fast_open(mirrord: Mirrord, in_pod: Callable[..., Outcome], host: str) -> None:
    line = [*command("connects"), "fast", host, "7"]

    assert mirrord(*line).lines == in_pod(*line).lines


@pytest.mark.both_engines
def test_the_programs_own_listeners_stay_local(mirrord: Mirrord) -> None:
    script = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "client = socket.create_connection(server.getsockname())\n"
        "other, peer = server.accept()\n"
        "assert peer == client.getsockname()\n"
        "client.sendall(b'word'); print(other.recv(4).decode())\n"
    )

    session = mirrord(*command("burst-python")[:1], "-S", "-c", script, options=["-v"])

    assert session.lines == ["word"]
    assert "open_tcp" not in session.statistics


def test_the_pods_own_listener_is_reached(mirrord: Mirrord) -> None:
    line = [tool("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8080/"]

    assert mirrord(*line).lines == ["200"]


def test_outgoing_may_be_left_local(mirrord: Mirrord) -> None:
    session = mirrord(
        *command("connects"), "blocking", "127.0.0.1", "9", options=["-v", "--no-outgoing"], env={}
    )

    assert "open_tcp" not in session.statistics


UNDO = """
import ctypes, errno, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
ECHO, SILENT = ("10.96.0.20", 7), ("10.96.0.20", 10)
def undo(sock):
    failed = libc.connect(sock.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16)
    return errno.errorcode[ctypes.get_errno()] if failed else "ok"
def word(sock):
    sock.settimeout(20)
    sock.send(b"q")
    return sock.recv(1)
shut = socket.create_connection(ECHO)
shut.shutdown(socket.SHUT_RDWR)
print("shut", undo(shut), shut.connect(ECHO), word(shut))
pending = socket.socket()
pending.setblocking(False)
print("pending", errno.errorcode[pending.connect_ex(SILENT)], undo(pending))
pending.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
pending.settimeout(20)
print(pending.connect(ECHO), word(pending))
used = socket.create_connection(ECHO)
print("used", word(used), undo(used), used.connect(ECHO), word(used), used.getpeername())
for bound in (0, 5555):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", bound))
    sock.connect(ECHO)
    print("datagrams", word(sock), undo(sock), sock.sendto(b"w", ECHO), sock.recvfrom(1))
    print(sock.getsockname()[1] in (5555, 0) or "another port")
"""


def test_a_connect_that_is_undone_may_be_made_again(mirrord: Mirrord, in_pod: Callable[..., Outcome]) -> None:
    session = mirrord(SYSTEM_PYTHON, "-S", "-c", UNDO, options=["-v"])

    assert session.lines == in_pod(SYSTEM_PYTHON, "-S", "-c", UNDO).lines
    # a connect that is undone at once may not have been asked for
    assert session.statistics["open_tcp"] in (5, 6)


def test_the_first_connection_of_a_sandbox_waits_for_no_neighbour(in_pod: Callable[..., Outcome]) -> None:
    """A question that comes before the other end is ready is repeated only after a second."""
    ip = tool("ip")
    lines = [line.split() for family in ("-4", "-6") for line in in_pod(ip, family, "neigh").lines]
    states = {address: state for address, *_, state in lines}
    assert [states.get(address) for address in ("10.244.0.1", "fd00:10:244::1")] == ["PERMANENT"] * 2
