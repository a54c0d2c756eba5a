"""Incoming TCP, mirrored: who gets what clients of the pod send, and that the pod does not notice."""

import re
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.build import SYSTEM_PYTHON, command
from ..support.needs import tool
from ..support.ports import free_port
from ..support.running import Outcome, Runner, end_input, read_line, statistics, write
from ..support.sandboxes import Sandbox
from ..support.servers import (
    APPS,
    CLIENT4,
    CLIENT6,
    POD4,
    POD6,
    SERVERS,
    UVICORN,
    UVICORN_PORT,
    WEB,
    accepts,
    nginx,
)
from ..support.user import User
from .conftest import Ask, Configured, Serve


def mirrored(sandbox: Sandbox, port: int = 8080) -> str:
    return f"^mirrord: port {port} of {sandbox.hostname} is mirrored to this program$"


@pytest.mark.parametrize("server", [*SERVERS, "nginx"])
def test_a_server_gets_what_clients_send_and_sees_who_they_are(
    serve: Serve, ask: Ask, sandbox: Sandbox, configured: Configured, server: str, tmp_path: Path
) -> None:
    options = configured({"port_mapping": [[UVICORN_PORT, 8080]]})
    session = serve(*(nginx(tmp_path) if server == "nginx" else SERVERS[server]()), options=options)
    session.wait(mirrored(sandbox))
    word = secrets.token_hex(4)

    for number in range(6):
        answer = ask(f"?{word}{number}", "-d", "x" * number)
        assert (answer["peer"], answer["body"]) == (CLIENT4, number)
    found = session.wait(rf"^\d+ (?:::ffff:)?(\S+) POST /\?({word}\d) (\d+)$", count=6)

    assert {match[1] for match in found} == {CLIENT4}
    assert sorted((match[2], match[3]) for match in found) == [(f"{word}{n}", f"{n}") for n in range(6)]
    session.stop()
    if server != "uvicorn":
        # which leaves a process that the session goes on to serve
        session.wait("mirrored: .*connections 6, finished 6")


def test_a_reloaded_server_goes_on(
    serve: Serve, ask: Ask, sandbox: Sandbox, configured: Configured, tmp_path: Path
) -> None:
    """By uvicorn's reloader, which keeps the listener and starts its server afresh."""
    app = tmp_path / "fastapi_app.py"
    app.write_text(Path(APPS, "fastapi_app.py").read_text())
    options = configured({"port_mapping": [[UVICORN_PORT, 8080]]})
    here = ["--reload-dir", str(tmp_path), "--app-dir", str(tmp_path)]
    session = serve(*UVICORN, *here, "fastapi_app:app", options=options)
    session.wait(mirrored(sandbox))
    ask("?before")
    (before,) = session.wait(rf"^(\d+) {CLIENT4} GET /.before 0$")
    app.write_text(app.read_text() + "# changed\n")
    session.wait("Application startup complete", count=2)
    ask("?after")
    (after,) = session.wait(rf"^(\d+) {CLIENT4} GET /.after 0$")
    assert before[1] != after[1]
    assert len(session.wait(mirrored(sandbox))) == 1
    session.stop()


def test_nothing_is_in_the_pods_way(
    serve: Serve, ask: Ask, client: Callable[..., Outcome], rules: Callable[[], str], sandbox: Sandbox
) -> None:
    """No rule, the same peer, and every byte of the answers."""
    before = ask("")
    body = client(tool("curl"), "-sS", f"http://{WEB}:8080/bytes?n=3000000")
    session = serve(*accepts("blocking", 3))
    session.wait(mirrored(sandbox))

    assert ask("") == before
    assert client(tool("curl"), "-sS", f"http://{WEB}:8080/bytes?n=3000000") == body
    assert rules() == ""
    # the copy's end does not end the connection that it is of
    ask("", host=POD4)
    assert len(session.wait(rf"^{CLIENT4} 8080 GET ", count=3)) == 3
    assert session.end() == 0


@pytest.mark.both_engines
@pytest.mark.sample("current-ptrace-(blocking|dual)")
@pytest.mark.parametrize("way", ["blocking", "dual", "no_address", "edge", "restarted"])
@pytest.mark.both_users
def test_ways_to_accept(serve: Serve, ask: Ask, sandbox: Sandbox, way: str) -> None:
    session = serve(*accepts(way, 3))
    session.wait("^ready$")
    for number in range(3):
        ask(f"?{number}")
    assert session.end() == 0
    peer = f"::ffff:{CLIENT4}" if way == "dual" else CLIENT4
    assert [line for line in session.lines if "GET" in line] == [
        f"{peer} 8080 GET /?{n} HTTP/1.1" for n in range(3)
    ]
    assert not any("differ" in line for line in session.lines)


@pytest.mark.parametrize(("way", "host", "peer"), [("ipv6", POD6, CLIENT6), ("dual", POD6, CLIENT6)])
def test_ipv6(serve: Serve, ask: Ask, way: str, host: str, peer: str) -> None:
    session = serve(*accepts(way))
    session.wait("^ready$")
    assert ask("", host=host)["peer"] == peer
    assert session.end() == 0
    assert f"{peer} 8080 GET / HTTP/1.1" in session.lines


def test_a_connection_comes_to_the_listener_of_its_family(serve: Serve, ask: Ask) -> None:
    session = serve(*accepts("both", 2))
    session.wait("^ready$")
    ask("", host=POD6)
    ask("", host=POD4)
    assert session.end() == 0
    assert session.lines[1:] == [f"{CLIENT6} 8080 GET / HTTP/1.1 IPv6", f"{CLIENT4} 8080 GET / HTTP/1.1 IPv4"]


def test_the_pods_own_address_may_be_bound(serve: Serve, ask: Ask) -> None:
    session = serve(*accepts("pod_address", 1, POD4))
    session.wait(f"^ready {POD4} 8080$")
    ask("")
    assert session.end() == 0
    assert session.lines[1:] == [f"{CLIENT4} 8080 GET / HTTP/1.1"]


@pytest.mark.both_engines
def test_flags_of_accept4_are_heeded(serve: Serve, ask: Ask) -> None:
    session = serve(*accepts("nonblocking_child"))
    session.wait("^ready$")
    ask("")
    ask("")
    assert session.end() == 0
    assert session.lines[1::2] == ["non-blocking False 16", "blocking True 16"]


def test_a_time_out_of_accept(serve: Serve) -> None:
    session = serve(*accepts("timed_out"))
    assert session.end() == 0
    assert session.lines == ["ready", "EAGAIN"]


@pytest.mark.both_engines
@pytest.mark.sample("current")
@pytest.mark.both_users
def test_signals_interrupt_a_blocked_accept(serve: Serve, ask: Ask) -> None:
    session = serve(*accepts("interrupted"))
    session.wait("^ready$")
    ask("")
    assert session.end() == 0
    assert session.lines == ["interrupted"] * 3 + ["ready", f"{CLIENT4} 8080 GET / HTTP/1.1"]


@pytest.mark.both_engines
def test_without_a_descriptor_left_no_connection_is_lost(serve: Serve, ask: Ask) -> None:
    session = serve(*accepts("emfile"))
    session.wait("^ready$")
    ask("")
    assert session.end() == 0, "\n".join(session.said)
    assert session.lines == ["ready", "Too many open files", f"{CLIENT4} 8080 GET / HTTP/1.1"]


@pytest.mark.parametrize("way", ["prefork", "reuseport"])
def test_workers(serve: Serve, ask: Ask, sandbox: Sandbox, way: str) -> None:
    session = serve(*accepts(way))
    session.wait("^ready$")
    if way == "reuseport":
        session.wait("^listens$", count=3)
    for number in range(12):
        ask(f"?{number}")
    found = session.wait(rf"^{CLIENT4} 8080 GET /\?(\d+) HTTP/1.1 (\d+)$", count=12)
    assert sorted(int(match[1]) for match in found) == list(range(12))
    assert len({match[2] for match in found}) > 1
    assert len(session.wait(mirrored(sandbox))) == 1
    session.give_input_end()
    assert session.end() == 0


@pytest.mark.parametrize("way", ["passed", "executed"])
def test_a_listener_is_the_same_wherever_it_goes(serve: Serve, ask: Ask, way: str) -> None:
    session = serve(*accepts(way))
    session.wait("^ready$")
    ask("")
    session.wait(f"^{CLIENT4} 8080 GET / HTTP/1.1$")
    assert session.end() == 0


def test_listening_twice_and_again(serve: Serve, ask: Ask) -> None:
    session = serve(*accepts("again"))
    session.wait("^ready 0.0.0.0 8080$")
    ask("?first")
    session.wait("^again 0.0.0.0 8080$")
    ask("?second")
    assert session.end() == 0
    assert session.lines[2:] == [f"{CLIENT4} 8080 GET /?{word} HTTP/1.1" for word in ("first", "second")]


def test_closing_the_last_listener_unsubscribes(serve: Serve, ask: Ask) -> None:
    session = serve(*accepts("closing"))
    session.wait("^ready$")
    ask("?kept")
    session.wait("^closed$")
    session.give_input_end()
    assert session.end() == 0
    assert session.lines[2:] == [f"{CLIENT4} 8080 GET /?kept HTTP/1.1"]


def test_a_port_of_the_session_is_in_use(serve: Serve, ask: Ask) -> None:
    session = serve(*accepts("in_use"))
    session.wait("^ready 0.0.0.0 8080$")
    ask("")
    assert session.end() == 0
    assert session.lines[1:] == ["Address already in use", f"{CLIENT4} 8080 GET / HTTP/1.1"]


@pytest.fixture
def occupied() -> Iterator[int]:
    """Return a port that another program of this machine has."""
    port = free_port()
    with socket.create_server(("0.0.0.0", port)):
        yield port


@pytest.mark.parametrize("way", ["again", "in_use", "itself", "reuseport"])
def test_a_port_that_is_taken_here_is_replaced(
    serve: Serve, ask: Ask, configured: Configured, occupied: int, way: str
) -> None:
    options = configured({"port_mapping": [[occupied, 8080]]})
    session = serve(*accepts(way), options=options, env={"ACCEPTS_PORT": str(occupied)})
    session.wait(
        rf"^mirrord: port {occupied} cannot be had on this machine \(address already in use\): "
        r"the program listens on port \d+ here$"
    )
    session.wait(f"^ready( 0.0.0.0 {occupied})?$")
    if way == "itself":
        assert session.end() == 0
        assert session.lines[1:] == ["True True", "word"]
        return
    if way == "reuseport":
        session.wait("^listens$", count=3)
    ask("?first")
    if way == "again":
        session.wait(f"^again 0.0.0.0 {occupied}$")
        ask("?second")
    session.wait(rf"^{CLIENT4} 8080 GET /.first HTTP/1.1")
    session.give_input_end()
    assert session.end() == 0
    assert ("Address already in use" in session.lines) is (way == "in_use")


def test_the_programs_own_connections_stay_local(serve: Serve) -> None:
    for way, lines in (("itself", ["ready", "True True", "word"]), ("chosen", ["ready True True"])):
        session = serve(*accepts(way), options=["-v"])
        assert session.end() == 0
        assert session.lines == lines
        assert "open_tcp" not in statistics("\n".join(session.said))


def test_a_killed_worker_leaves_its_port(serve: Serve) -> None:
    port = free_port()
    session = serve(*accepts("killed", 1, port))
    assert session.end() == 0
    assert session.lines == [f"ready 0.0.0.0 {port}"]
    assert not any("cannot be had" in line for line in session.said)


@pytest.mark.both_users
def test_a_privileged_port(
    serve: Serve, ask: Ask, sandbox: Sandbox, configured: Configured, user: User
) -> None:
    options = configured({"port_mapping": [[81, 8080]]})
    session = serve(*accepts("several", 1, 81), options=options)
    session.wait("^ready 81$")
    ask("")
    assert session.end() == 0
    assert session.lines[1:] == [f"{CLIENT4} 8080 GET / HTTP/1.1 81"]
    replaced = [
        line for line in session.said if "port 81 cannot be had on this machine (permission denied)" in line
    ]
    assert len(replaced) == (user.name != "root")


SOME_PORT, OTHER_PORT = free_port(), free_port()


@pytest.mark.parametrize(
    ("incoming", "subscribed"),
    [
        ("off", []),
        ({"mode": "off"}, []),
        ("mirror", [SOME_PORT, OTHER_PORT]),
        ({"ports": [OTHER_PORT]}, [OTHER_PORT]),
        ({"ignore_ports": [SOME_PORT]}, [OTHER_PORT]),
        ({"port_mapping": [[SOME_PORT, 99], [OTHER_PORT, 98]]}, [98, 99]),
    ],
    ids=["off", "mode off", "mirror", "ports", "ignore_ports", "port_mapping"],
)
def test_which_ports_are_subscribed(
    serve: Serve, configured: Configured, incoming: dict[str, object] | str, subscribed: list[int]
) -> None:
    session = serve(*accepts("several", 0, SOME_PORT, OTHER_PORT), options=configured(incoming))
    assert session.end() == 0
    found = [re.search(r"port (\d+) of .* is mirrored", line) for line in session.said]
    assert sorted(int(match[1]) for match in found if match) == sorted(subscribed)


def test_a_listener_of_the_loopback_may_be_left_local(serve: Serve, configured: Configured) -> None:
    port = free_port()
    options = configured({"ignore_localhost": True})
    session = serve(*accepts("pod_address", 0, "127.0.0.1", port), options=options)
    session.wait(f"^ready 127.0.0.1 {port}$")
    session.stop()
    assert not any("is mirrored" in line for line in session.said)


def test_the_port_here_may_be_chosen(serve: Serve, ask: Ask, configured: Configured) -> None:
    port = free_port()
    session = serve(*accepts("several", 1, 8080), options=configured({"listen_ports": [[8080, port]]}))
    session.wait("^ready 8080$")
    session.wait(f"^mirrord: this program listens on port {port} here in place of 8080$")
    ask("")
    assert session.end() == 0
    assert session.lines[1:] == [f"{CLIENT4} 8080 GET / HTTP/1.1 8080"]


def test_raw_bytes_both_ways_of_ending(
    serve: Serve, client: Callable[..., Outcome], sandbox: Sandbox
) -> None:
    """Netcat prints what it gets, HTTP or not."""
    session = serve(tool("nc"), "-lkv", "8080")
    session.wait(mirrored(sandbox))
    word = secrets.token_hex(8)
    client(tool("sh"), "-c", f"printf 'no request: {word}\\n\\n' | {tool('nc')} -N {POD4} 8080")
    session.wait(f"no request: {word}")
    session.wait(f"Connection received on {CLIENT4} ")
    session.stop()


def test_a_large_upload_is_copied_whole(serve: Serve, ask: Ask, sandbox: Sandbox, tmp_path: Path) -> None:
    session = serve(*command("serve-go"))
    session.wait(mirrored(sandbox))
    upload = tmp_path / "upload"
    upload.write_bytes(secrets.token_bytes(5_000_000))
    assert ask("?large", "--data-binary", f"@{upload}")["body"] == 5_000_000
    session.wait(r"POST /\?large 5000000$")
    session.stop()


def test_a_connection_from_before_is_joined_at_its_next_request(
    serve: Serve, client: Callable[..., Outcome], runner: Runner, sandbox: Sandbox
) -> None:
    script = (
        "import http.client, sys\n"
        f"client = http.client.HTTPConnection('{POD4}', 8080)\n"
        "for word in ('before', 'after'):\n"
        "    client.request('GET', f'/?{word}')\n"
        "    response = client.getresponse()\n"
        "    response.read()\n"
        "    print(response.status, flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    with runner.start(sandbox.command("run", SYSTEM_PYTHON, "-c", script)) as process:
        assert read_line(process) == "200"
        session = serve(*accepts("blocking"))
        session.wait("^ready$")
        write(process, "\n")
        assert read_line(process) == "200"
        assert session.end() == 0
        end_input(process)
    assert session.lines[1:] == [f"{CLIENT4} 8080 GET /?after HTTP/1.1"]
    session.wait("joined 1")


def test_a_filter_chooses_what_is_copied(
    serve: Serve, client: Callable[..., Outcome], sandbox: Sandbox, configured: Configured
) -> None:
    """By request: all are on one connection, and the pod answers all."""
    options = configured({"http_filter": {"path_filter": "mine"}})
    session = serve(*command("serve-node"), options=options)
    session.wait(f"{mirrored(sandbox)[:-1]}: requests by `path_filter` mine$")
    word = secrets.token_hex(4)
    paths = [f"?{kind}{word}{n}" for n in range(3) for kind in ("mine", "theirs")]
    out = client(tool("curl"), "-sS", *(f"http://{WEB}:8080/{path}" for path in paths)).out
    assert out.count(f'"{sandbox.hostname}"') == 6
    session.wait(rf" (?:::ffff:)?{CLIENT4} GET /\?mine{word}\d 0$", count=3)
    session.stop()
    assert not any("theirs" in line for line in session.lines)
    session.wait("mirrored: .*requests 3, requests not copied 3")


def test_what_the_pod_sends_itself_is_seen_too(serve: Serve, in_pod: Callable[..., Outcome]) -> None:
    session = serve(*accepts("blocking", 2))
    session.wait("^ready$")
    for host in ("127.0.0.1", POD4):
        in_pod(tool("curl"), "-sS", f"http://{host}:8080/?{host}")
    assert session.end() == 0
    assert session.lines[1:] == [f"{host} 8080 GET /?{host} HTTP/1.1" for host in ("127.0.0.1", POD4)]


def test_the_banner_says_what_is_mirrored(serve: Serve, configured: Configured) -> None:
    for incoming, line in (
        ("mirror", "remote: .*incoming TCP .mirrored."),
        ("off", "local: .*incoming traffic"),
    ):
        session = serve(tool("true"), options=configured(incoming))
        assert session.end() == 0
        session.wait(line)
