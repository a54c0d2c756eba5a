"""Names: the target's host name, and its DNS through every kind of resolver."""

from collections.abc import Callable

import pytest

from ..conftest import Mirrord
from ..support.build import SYSTEM_PYTHON, command
from ..support.needs import tool
from ..support.running import Outcome
from ..support.sandboxes import Sandbox

FULL = "echo.default.svc.cluster.local"
ECHO4, ECHO6 = "10.96.0.20", "fd00:10:96::20"
C_ARES = "require('dns').resolve4(process.argv[1], (error, found) => console.log(error?.code ?? found[0]))"
NSCD = """
import errno, socket, sys
for path in sys.argv[1:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        print("connected")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@pytest.mark.both_engines
@pytest.mark.both_users
def test_the_host_name_is_the_targets(mirrord: Mirrord, sandbox: Sandbox) -> None:
    script = "uname -n; hostname; cat /etc/hostname; cat /proc/sys/kernel/hostname"

    assert mirrord("sh", "-c", script).lines[:3] == [sandbox.hostname] * 3


@pytest.mark.sample("ptrace-(echo|nothing.*)$")
@pytest.mark.both_engines
@pytest.mark.parametrize("name", [FULL, "echo", "echo.default", "nothing.default.svc.cluster.local"])
def test_getaddrinfo_answers_as_in_the_pod(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], name: str
) -> None:
    ours, theirs = mirrord("getent", "ahosts", name), in_pod("getent", "ahosts", name)

    assert (ours.code, sorted(ours.out.splitlines())) == (theirs.code, sorted(theirs.out.splitlines()))


@pytest.mark.parametrize(("kind", "address"), [("A", ECHO4), ("AAAA", ECHO6)])
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_dig(mirrord: Mirrord, transport: str, kind: str, address: str) -> None:
    line = [tool("dig"), "+short", transport, FULL, kind]

    assert mirrord(*line).lines == [address]


def test_c_ares(mirrord: Mirrord) -> None:
    assert mirrord(tool("node"), "-e", C_ARES, FULL).lines == [ECHO4]


@pytest.mark.both_engines
def test_a_local_name_daemon_refuses(mirrord: Mirrord) -> None:
    paths = ["/run/nscd/socket", "/var/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"]

    session = mirrord(SYSTEM_PYTHON, "-S", "-c", NSCD, *paths)

    assert session.lines == ["ECONNREFUSED"] * len(paths)


def test_names_may_be_left_local(mirrord: Mirrord) -> None:
    session = mirrord("getent", "ahosts", FULL, options=["-v", "--no-remote-dns"])

    assert ECHO4 not in session.out


def test_the_resolvers_configuration_is_the_targets(mirrord: Mirrord, in_pod: Callable[..., Outcome]) -> None:
    line = ["cat", "/etc/resolv.conf", "/etc/hosts"]

    assert mirrord(*line).lines == in_pod(*line).lines


def test_a_name_leads_to_its_service(mirrord: Mirrord) -> None:
    session = mirrord(*command("probe-go"), "db", "7", "5", options=["-v"])

    assert session.statistics["open_udp"] >= 1
