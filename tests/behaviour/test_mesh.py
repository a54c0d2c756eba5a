"""A pod behind a real Envoy, as in a mesh: TLS with certificates outside, plaintext by the loopback."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.build import SOURCES, command
from ..support.needs import tool
from ..support.running import Outcome, Runner
from ..support.sandboxes import Sandbox
from ..support.servers import POD4
from .conftest import Configured, Serve
from .test_steal import MINE

pytestmark = pytest.mark.root
_NAT = ("iptables-nft", "-t", "nat")
_REDIRECT = ("PREROUTING", "-p", "tcp", "-j", "ISTIO_INBOUND")
URL = "https://mesh:8080"


@pytest.fixture
def certified(tmp_path: Path) -> tuple[str, ...]:
    """Make the mesh's certificate; return the options by which curl is of the mesh."""
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=mesh", "-addext", "subjectAltName=DNS:mesh"]
    line = [tool("openssl"), *made, *names, "-keyout", key, "-out", certificate]
    subprocess.run(line, check=True, capture_output=True)
    return "--cert", certificate, "--key", key


@pytest.fixture
def sidecar(
    runner: Runner, sandbox: Sandbox, certified: tuple[str, ...], tmp_path: Path
) -> Iterator[tuple[str, ...]]:
    """Put Envoy before the pod's server, as Istio does; return curl's options for who is not of the mesh."""
    text = (SOURCES / "steal" / "envoy.json").read_text()
    for name in ("key", "cert"):
        # the pod does not see this machine's files
        pem = (tmp_path / f"{name}.pem").read_text().replace("\n", "\\n")
        text = text.replace(name.upper(), pem)
    line = [tool("envoy"), "--disable-hot-restart", "--concurrency", "1", "--config-yaml", text]
    inside = [tool("nsenter"), f"--net=/proc/{sandbox.pod()}/ns/net"]

    def change(*arguments: str) -> None:
        subprocess.run([*inside, *_NAT, *arguments], check=True, capture_output=True)

    with runner.start(sandbox.command("exec", *line)) as envoy:
        _wait_until_it_serves(envoy)
        change("-N", "ISTIO_INBOUND")
        change("-A", "ISTIO_INBOUND", "-p", "tcp", "--dport", "8080", "-j", "REDIRECT", "--to-ports", "15006")
        change("-A", *_REDIRECT)
        try:
            yield ("--cacert", certified[1], "--connect-to", f"mesh:8080:{POD4}:8080")
        finally:
            change("-D", *_REDIRECT)
            change("-F", "ISTIO_INBOUND")
            change("-X", "ISTIO_INBOUND")
            # its chains stay, empty, where iptables has been once
            subprocess.run([*inside, tool("nft"), "delete", "table", "ip", "nat"], check=True)
            envoy.terminate()
            envoy.communicate(timeout=20)


def _wait_until_it_serves(envoy: "subprocess.Popen[str]") -> None:
    assert envoy.stderr is not None
    said = []
    while "starting main dispatch loop" not in (line := envoy.stderr.readline()):
        said.append(line)
        if not line:
            pytest.fail("".join(said))


@pytest.mark.parametrize("way", ["mirror", "steal", "filter"])
def test_plaintext_is_taken_between_the_sidecar_and_the_application(
    serve: Serve,
    client: Callable[..., Outcome],
    sandbox: Sandbox,
    configured: Configured,
    sidecar: tuple[str, ...],
    certified: tuple[str, ...],
    way: str,
) -> None:
    curl = [tool("curl"), "-sS", *sidecar, *certified]
    assert sandbox.hostname in client(*curl, URL).out
    assert client(tool("curl"), "-sS", *sidecar, URL).code != 0
    session = serve(*command("serve-node"), options=configured(MINE if way == "filter" else way))
    session.wait(f"port 8080 of {sandbox.hostname} is ")

    theirs = client(*curl, f"{URL}/?theirs").out
    mine = client(*curl, "-H", "x-user: me", f"{URL}/?mine").out

    assert (theirs == "local\n") is (way == "steal")
    assert (mine == "local\n") is (way != "mirror")
    taken = ["mine"] if way == "filter" else ["theirs", "mine"]
    session.wait(rf"^\d+ (?:::ffff:)?127\.0\.0\.1 GET /\?{taken[-1]} 0$")
    assert client(*curl, URL).code == 0
    session.stop()
    asked = [line.split()[3] for line in session.lines]
    assert [path for path in asked if path != "/"] == [f"/?{word}" for word in taken]
    assert sandbox.hostname in client(*curl, URL).out
