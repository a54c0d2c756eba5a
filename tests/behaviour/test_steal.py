"""Incoming TCP, stolen: who answers clients, and that the pod has its ports back however that ends."""

import itertools
import json
import os
import random
import re
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ..support.build import command
from ..support.needs import tool
from ..support.processes import Chain
from ..support.relay import Relay
from ..support.running import Outcome, Runner, read_line, write
from ..support.sandboxes import Sandbox
from ..support.servers import CLIENT4, POD4, SERVERS, UVICORN_PORT, WEB, accepts, nginx
from ..support.waiting import until
from .conftest import Ask, Configured, Serve
from .soak import KILLS, SOAK

URL = f"http://{WEB}:8080/"
AGAIN = 20
"""Attempts in a second, by whoever tries again 0.05 s after one that was refused or reset."""
MINE = {"mode": "steal", "http_filter": {"header_filter": "^x-user: me$"}}


def stolen(sandbox: Sandbox, port: int = 8080, filtered: str = "") -> str:
    return f"^mirrord: port {port} of {sandbox.hostname} is stolen by this program{filtered}"


def curl(client: Callable[..., Outcome], *arguments: str) -> str:
    return client(tool("curl"), "-sS", *arguments).out


@pytest.mark.parametrize("server", [*SERVERS, "nginx"])
def test_clients_get_the_local_answer_and_the_program_sees_who_they_are(
    serve: Serve,
    ask: Ask,
    client: Callable[..., Outcome],
    sandbox: Sandbox,
    configured: Configured,
    server: str,
    tmp_path: Path,
) -> None:
    options = configured({"mode": "steal", "port_mapping": [[UVICORN_PORT, 8080]]})
    session = serve(*(nginx(tmp_path) if server == "nginx" else SERVERS[server]()), options=options)
    session.wait(stolen(sandbox))
    if server in ("uvicorn", "gunicorn"):
        # its listener is there before its workers are
        session.wait("Application startup complete|Booting worker")
    word = secrets.token_hex(4)

    for number in range(3):
        assert "local" in curl(client, "-d", "x" * number, f"{URL}?{word}{number}")
    found = session.wait(rf"^\d+ (?:::ffff:)?(\S+) POST /\?({word}\d) (\d+)$", count=3)

    assert {match[1] for match in found} == {CLIENT4}
    assert sorted((match[2], match[3]) for match in found) == [(f"{word}{n}", f"{n}") for n in range(3)]
    session.stop()
    ask("?after")


@pytest.mark.both_engines
@pytest.mark.sample("current")
@pytest.mark.both_users
def test_the_flag_and_the_end(
    serve: Serve, ask: Ask, client: Callable[..., Outcome], rules: Callable[[], str], sandbox: Sandbox
) -> None:
    session = serve(*command("serve-node"), options=["--steal"])
    session.wait("incoming TCP .stolen.$")
    session.wait(f"{stolen(sandbox)}$")
    assert curl(client, URL) == "local\n"
    assert "redirect" in rules()
    session.stop()
    session.wait("^mirrord: stolen: connections 1$")
    ask("?after")
    until("no rule is left", lambda: rules() == "")


@pytest.mark.parametrize(("filtered", "silent"), [(False, False), (True, False), (True, True)])
def test_the_pod_answers_while_the_link_is_down(
    serve: Serve,
    client: Callable[..., Outcome],
    sandbox: Sandbox,
    slow: Callable[..., Relay],
    configured: Configured,
    filtered: bool,
    silent: bool,
) -> None:
    """Its clients do not wait for a session that may never come back; once it is back it has them again.

    A link that is silent, as that of a machine that sleeps, is as good as broken.
    """
    link = slow()
    session = serve(
        *command("serve-node"), options=configured(MINE) if filtered else ["--steal"], env=link.env
    )
    session.wait(stolen(sandbox))

    def answer() -> str:
        return client(tool("curl"), "-sS", "-m", "2", "-H", "x-user: me", URL).out

    assert answer() == "local\n"
    link.stall()
    if not silent:
        link.cut()
    until("the pod answers", lambda: sandbox.hostname in answer(), seconds=40)
    link.resume()
    until("the program answers", lambda: answer() == "local\n")
    session.stop()


def test_only_matching_requests_come_here_on_one_connection(
    serve: Serve, kept: Callable[..., Callable[[str], str]], sandbox: Sandbox, configured: Configured
) -> None:
    session = serve(*command("serve-node"), options=configured(MINE))
    session.wait(stolen(sandbox, filtered=r": requests by `header_filter` \^x-user: me\$$"))
    send = kept()
    for number in range(4):
        assert send(f"/?mine{number} X-User:me") == "200 same local"
        assert json.loads(send(f"/?theirs{number} X-User:you").split(" ", 2)[2])["server"] == sandbox.hostname
    assert len(session.wait(rf" (?:::ffff:)?{CLIENT4} GET /\?mine\d 0$", count=4)) == 4
    assert not any("theirs" in line for line in session.lines)
    session.stop()
    session.wait("stolen: connections 1, requests 4, requests left to the target 4")


@pytest.mark.parametrize("mode", ["mirror", "steal"])
def test_http2_as_a_whole(
    serve: Serve,
    runner: Runner,
    client: Callable[..., Outcome],
    sandbox: Sandbox,
    configured: Configured,
    mode: str,
) -> None:
    port = 9090
    line = sandbox.command("exec", *command("serve-http2"), str(port), "original")
    with runner.start(line) as original:
        assert read_line(original) == "ready"
        session = serve(*command("serve-http2"), str(port), "local", options=configured(mode))
        session.wait(f"port {port} of {sandbox.hostname} is ")
        answers = client(*command("multiplexed"), f"http://{POD4}:{port}", "me", "you").lines
        word = "local" if mode == "steal" else "original"
        assert answers == [f"me {word}", f"you {word}"]
        found = session.wait(r"^\d+ (?:::ffff:)?(\S+) POST /\?(me|you) 100000$", count=2)
        assert {(match[1], match[2]) for match in found} == {(CLIENT4, "me"), (CLIENT4, "you")}
        session.stop()
        original.terminate()


def test_http2_is_divided_by_request(
    serve: Serve, runner: Runner, client: Callable[..., Outcome], sandbox: Sandbox, configured: Configured
) -> None:
    port = 9090
    line = sandbox.command("exec", *command("serve-http2"), str(port), "original")
    with runner.start(line) as original:
        assert read_line(original) == "ready"
        session = serve(*command("serve-http2"), str(port), "local", options=configured(MINE))
        session.wait(stolen(sandbox, port))
        ask = [*command("multiplexed"), f"http://{POD4}:{port}", "me", "you", "me"]
        assert client(*ask).lines == ["me local", "you original", "me local"]
        session.wait(r" POST /\?me 100000$", count=2)
        assert not any("you" in line for line in session.lines)
        session.stop()
        assert client(*ask).lines == ["me original", "you original", "me original"]
        original.terminate()


@pytest.mark.parametrize(
    ("filter", "matching", "other"),
    [
        ({"path_filter": "^/own"}, ["/own"], ["/bytes?n=5"]),
        ({"method_filter": "put"}, ["-X", "PUT", "/own"], ["/bytes?n=5"]),
        ({"header_filter_jq": '. == "X-A: 1"'}, ["-H", "X-A: 1", "/own"], ["/bytes?n=5"]),
        (
            {"body_filter": {"body": "json", "query": "$.user", "matches": "^me$"}},
            ["-d", '{"user": "me"}', "/own"],
            ["/bytes?n=5"],
        ),
        (
            {"all_of": [{"path": "^/own"}, {"header": "^x-a: 1"}]},
            ["-H", "x-a: 1", "/own"],
            ["-H", "x-a: 1", "/bytes?n=5"],
        ),
        ({"any_of": [{"path": "^/own"}, {"method": "put"}]}, ["/own"], ["/bytes?n=5"]),
        ({"path_filter": "^/none", "ports": 8081}, ["/own"], None),
    ],
    ids=["path", "method", "jq", "body", "all_of", "any_of", "ports"],
)
def test_every_kind_of_filter(
    serve: Serve,
    client: Callable[..., Outcome],
    sandbox: Sandbox,
    configured: Configured,
    filter: dict[str, object],
    matching: list[str],
    other: list[str] | None,
) -> None:
    session = serve(*command("serve-node"), options=configured({"mode": "steal", "http_filter": filter}))
    session.wait(stolen(sandbox))
    for arguments, answer in ((matching, "local\n"), (other, None)):
        if arguments is not None:
            *options, path = arguments
            out = curl(client, *options, f"http://{WEB}:8080{path}")
            assert out == answer if answer else len(out) == 5
    session.stop()


@pytest.mark.parametrize(
    ("name", "value", "request_line"),
    [
        ("MIRRORD_HTTP_HEADER_FILTER", "^x-user: me$", "/ x-user:me"),
        ("MIRRORD_HTTP_PATH_FILTER", "^/mine", "/mine"),
        ("MIRRORD_HTTP_METHOD_FILTER", "get", "/"),
        ("MIRRORD_HTTP_HEADER_FILTER_JQ", '. == "x-user: me"', "/ x-user:me"),
    ],
)
def test_variables(
    serve: Serve,
    kept: Callable[..., Callable[[str], str]],
    sandbox: Sandbox,
    name: str,
    value: str,
    request_line: str,
) -> None:
    env = {name: value, "MIRRORD_HTTP_FILTER_PORTS": "8080", "MIRRORD_AGENT_TCP_STEAL_TRAFFIC": "true"}
    session = serve(*command("serve-node"), env=env)
    session.wait(stolen(sandbox, filtered=": requests by "))
    assert kept()(request_line) == "200 same local"
    session.stop()
    session.wait("stolen: connections 1, requests 1$")


def test_raw_bytes(serve: Serve, client: Callable[..., Outcome], sandbox: Sandbox) -> None:
    """Netcat gets what a client says, and the client what is typed at netcat."""
    session = serve(tool("nc"), "-lkv", "8080", options=["--steal"])
    session.wait(f"{stolen(sandbox)}$")
    word = secrets.token_hex(8)
    assert session.process.stdin is not None
    write(session.process, f"typed {word}\n")
    script = f"printf 'no request: {word}\n' | {tool('nc')} {POD4} 8080 | head -n 1"
    assert client(tool("sh"), "-c", script).out == f"typed {word}\n"
    session.wait(f"^no request: {word}$")
    session.wait(f"Connection received on {CLIENT4} ")
    session.stop()


def test_what_is_no_http_passes(
    serve: Serve, client: Callable[..., Outcome], sandbox: Sandbox, configured: Configured
) -> None:
    """Byte for byte, and the original's answer comes back."""
    script = f"printf 'no request\\n\\n' | {tool('nc')} -N {POD4} 8080"
    before = client(tool("sh"), "-c", script).out
    assert "400" in before
    session = serve(*command("serve-node"), options=configured(MINE))
    session.wait(stolen(sandbox))
    assert client(tool("sh"), "-c", script).out == before
    session.stop()
    assert session.lines == []


def test_a_program_that_goes_away(
    serve: Serve,
    kept: Callable[..., Callable[[str], str]],
    runner: Runner,
    sandbox: Sandbox,
    configured: Configured,
) -> None:
    """Who waits for its answer is told so; later requests are the original's, also on the same connection."""
    session = serve(*command("leaves"), options=configured(MINE))
    session.wait("^ready$")
    session.wait(stolen(sandbox))
    line = sandbox.command("run", tool("curl"), "-sS", "-H", "x-user: me", "-w", "%{http_code}", URL)
    send = kept()
    assert json.loads(send("/").split(" ", 2)[2])["server"] == sandbox.hostname
    with runner.start(line) as waiting:
        session.wait("^asked$")
        assert session.process.stdin is not None
        session.process.stdin.write("\n")
        session.process.stdin.flush()
        out, _ = waiting.communicate(timeout=20)
        assert out.endswith("502")
        assert "mirrord" in out

    def answered() -> bool:
        status, same, body = send("/ X-User:me").split(" ", 2)
        assert (status, same) == ("502", "same") or sandbox.hostname in body, body
        return status == "200"

    until("the original answers again", answered)
    session.give_input_end()
    assert session.end() == 0


def test_a_new_program_gets_new_connections_only(
    serve: Serve, kept: Callable[..., Callable[[str], str]], sandbox: Sandbox
) -> None:
    session = serve(*command("taken-over"), options=["--steal"])
    session.wait("^ready$")
    session.wait(stolen(sandbox))
    first = kept()
    assert first("/") == "200 same first"
    session.wait("^ready again$")
    second = kept()
    assert second("/") == "200 same second"
    assert first("/") == "200 same first"
    assert session.end() == 0


@pytest.mark.parametrize("flush", [True, False])
def test_connections_from_before(
    serve: Serve,
    kept: Callable[..., Callable[[str], str]],
    sandbox: Sandbox,
    configured: Configured,
    flush: bool,
) -> None:
    send = kept()
    assert send("/").startswith("200 same {")
    options = configured("steal", agent={"flush_connections": flush})
    session = serve(*command("serve-node"), options=options)
    session.wait(stolen(sandbox))
    if flush:
        assert send("/").startswith("failed ")
        assert send("/") == "200 other local"
    else:
        assert send("/").startswith("200 same {")
    session.stop()
    assert any("connections reset 1" in line for line in session.said) is flush


@pytest.mark.soak
@pytest.mark.both_users
def test_a_kill_at_any_moment_leaves_nothing(
    serve: Serve,
    ask: Ask,
    runner: Runner,
    sandbox: Sandbox,
    rules: Callable[[], str],
    configured: Configured,
    record_property: Callable[[str, object], None],
) -> None:
    """Under traffic; what was in flight through the agent may be lost, and nothing else.

    Within a second the pod answers whoever tries again at once. Attempts are counted, and not time, as a busy
    machine holds up both.
    """
    script = f"while :; do {tool('curl')} -s -m 5 -H 'x-user: me' {URL} {URL} || :; done"
    most = 0
    for number in range(KILLS):
        victims = ("agent", "supervisor", "agent supervisor")[number % 3].split()
        options = ["--steal"] if number % 2 else configured(MINE)
        session = serve(*command("serve-node"), options=options)
        session.wait(stolen(sandbox))
        asking = sandbox.command("run", *command("again"), WEB, "8080", sandbox.hostname)
        with (
            runner.start(asking) as again,
            runner.start(sandbox.command("run", tool("sh"), "-c", script)) as traffic,
        ):
            assert read_line(again) == "ready"
            session.wait(" GET / 0$", count=random.randrange(1, 60))
            chain = Chain.of(session.process.pid)
            pids = {"agent": sandbox.agents()[0], "supervisor": chain.supervisor}
            for victim in victims:
                os.kill(pids[victim], signal.SIGKILL)
            write(again, "now\n")
            failures = read_line(again).split()
            assert "TimeoutError" not in failures
            assert len(failures) < AGAIN, failures
            most = max(most, len(failures))
            until("no rule is left", lambda: rules() == "", seconds=10)
            os.killpg(traffic.pid, signal.SIGKILL)
        assert ask("?after")["peer"] == CLIENT4
        session.stop()
    record_property("kills", KILLS)
    record_property("most attempts without an answer", most)


@pytest.mark.soak
@pytest.mark.parametrize("order", random.sample([*itertools.permutations("abm")], 6 if SOAK else 2))
def test_three_sessions_share_a_pod(
    serve: Serve,
    kept: Callable[..., Callable[[str], str]],
    sandbox: Sandbox,
    configured: Configured,
    order: tuple[str, ...],
) -> None:
    """Two steal by their own filters and the third mirrors; each goes, and the others do not notice."""
    sessions = {}
    asked: list[str] = []
    for name in "ab":
        filter = {"header_filter": f"^x-user: {name}$"}
        options = configured({"mode": "steal", "http_filter": filter}, agent={"flush_connections": False})
        sessions[name] = serve(*command("serve-node"), options=options)
        sessions[name].wait(stolen(sandbox))
    sessions["m"] = serve(*accepts("blocking", 1000))
    sessions["m"].wait("is mirrored to this program")
    for gone in (*order, None):
        for name in "abc":
            path = f"/?{name}{secrets.token_hex(4)}"
            answer = kept()(f"{path} X-User:{name}")
            expected = "local" if name in sessions else sandbox.hostname
            assert expected in answer, (order, gone, name)
            if "m" in sessions:
                asked.append(path)
                sessions["m"].wait(f"GET {re.escape(path)} ")
        if gone is not None:
            ended = sessions.pop(gone)
            ended.stop(signal.SIGTERM)
            if gone == "m":
                # and not again where another session has passed it on
                assert [line.split()[3] for line in ended.lines if "GET" in line] == asked


def test_who_takes_everything_gets_what_filters_leave_and_nobody_else_does(
    serve: Serve, kept: Callable[..., Callable[[str], str]], sandbox: Sandbox, configured: Configured
) -> None:
    """Whoever of the two comes first; a third is told."""
    filtered = configured({"mode": "steal", "http_filter": {"header_filter": "^x-user: a$"}})
    for order in ([filtered, ["--steal"]], [["--steal"], filtered]):
        sessions = {}
        for options in order:
            word = "filtered" if options is filtered else "whole"
            sessions[word] = serve(*command("serve-node"), options=options)
            sessions[word].wait(stolen(sandbox))
        refused = serve(*command("serve-node"), options=["--steal"])
        refused.wait(
            f"port 8080 of {sandbox.hostname} .*is not stolen: another session steals all connections"
        )
        for name, user in (("filtered", "a"), ("whole", "b")):
            path = f"/?{secrets.token_hex(4)}"
            assert "local" in kept()(f"{path} X-User:{user}")
            sessions[name].wait(f"GET {re.escape(path)} ")
        for session in (refused, *sessions.values()):
            session.stop()
