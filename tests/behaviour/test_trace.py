"""What ``mirrord trace`` writes is what strace sees in the same run."""

import json
import re
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from mirrord.dispatch.watch import Watch

from ..conftest import Line
from ..support.attaching import Attaching
from ..support.build import ROOT, SYSTEM_PYTHON, command
from ..support.capture import packets, streams
from ..support.needs import tool
from ..support.ports import free_port
from ..support.running import Outcome, Runner
from ..support.sandboxes import Sandbox
from ..support.servers import POD4
from ..support.strace import Traced, by_thread, differences, is_trapped, of_any_run, paired, parse
from ..support.user import User

ECHO = "10.96.0.20"
NOT_SHOWN = {"rt_sigreturn", "socket", "io_uring_setup"}
"""Repeated by us, or failed by the filter without a trap."""
PROGRAMS = {
    "calls of all kinds": ("traced",),
    "static Go": ("probe-go", "echo.default.svc.cluster.local", "80", "30"),
    "many connects": ("burst-python", "10.96.0.20", "7", "50"),
    "shell": ("identity-sh",),
}


def _trapped() -> frozenset[str]:
    page = Path(ROOT, "docs", "syscalls.md").read_text()
    return frozenset(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) - NOT_SHOWN


def _read(path: Path) -> list[Traced]:
    return list(parse(path.read_text(errors="surrogateescape")))


@pytest.mark.notify_only("strace(1) cannot trace what mirrord traces itself")
@pytest.mark.both_users
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_lines_are_those_of_strace(runner: Runner, line: Line, user: User, program: str) -> None:
    name, *words = PROGRAMS[program]
    ours, theirs = (user.home / f"{secrets.token_hex(4)}.{kind}" for kind in ("ours", "strace"))
    strace = [tool("strace"), "-f", "-qq", "-s", "4096", "-o", str(theirs)]
    options = ["-q", "--plain", "-o", str(ours)]

    done = runner.run(line.of("trace", *strace, *command(name), *words, options=options))

    assert done.code == 0, done.err
    shown = by_thread(_read(ours))
    names = _trapped()
    seen = by_thread([call for call in _read(theirs) if is_trapped(call, names)])
    assert seen
    for tid, calls in seen.items():
        different = [text for pair in paired(shown[tid], calls) for text in differences(*pair)]
        assert not different


LOCAL = {
    "calls of all kinds": ("local-python",),
    "shell": ("sh", "-c", "cd /etc; ls -l /nowhere hostname; readlink /bin | cat; exec true"),
    "imports": (SYSTEM_PYTHON, "-c", "import asyncio, json, subprocess"),
}


@pytest.mark.both_users
@pytest.mark.parametrize("program", LOCAL)
def test_with_results_the_lines_are_those_of_strace(runner: Runner, user: User, program: str) -> None:
    ours, theirs = (user.home / f"{secrets.token_hex(4)}.{kind}" for kind in ("ours", "strace"))
    line = list(LOCAL[program])
    if program == "calls of all kinds":
        line = [*command("local-python"), str(user.home / "made"), str(free_port())]

    natively = runner.run([tool("strace"), "-f", "-qq", "-s", "4096", "-o", str(theirs), *line])
    done = runner.run([user.mirrord, "trace", "-q", "--results", "--plain", "-o", str(ours), "--", *line])

    assert (done.code, done.out) == (natively.code, natively.out), done.err
    names = _trapped_locally()
    # the first execve is ours
    seen = [call for call in _read(theirs)[1:] if is_trapped(call, names)]
    shown = [call for call in _read(ours) if is_trapped(call, names)]
    pairs = zip(_threads(shown), _threads(seen), strict=True)
    assert seen
    assert not [text for one, other in pairs for text in _all_differences(one, other)]


def _trapped_locally() -> frozenset[str]:
    watch = Watch(forget_thread=lambda _: None, forget_threads=lambda: None, returning_from_signal=None)
    return frozenset(row.rule.syscall for row in watch.rows())


def _threads(calls: list[Traced]) -> list[list[Traced]]:
    """Return the calls of each thread, in an order that does not depend on their numbers."""
    return sorted(([of_any_run(call) for call in one] for one in by_thread(calls).values()), key=str)


def _all_differences(ours: list[Traced], theirs: list[Traced]) -> list[str]:
    assert len(ours) == len(theirs), set(map(str, ours)) ^ set(map(str, theirs))
    return [text for pair in zip(ours, theirs, strict=True) for text in differences(*pair)]


def _trace(runner: Runner, line: Line, *options: str) -> Outcome:
    return runner.run(line.of("trace", "cat", "/app/config.yaml", options=["-q", *options]))


@pytest.mark.both_users
def test_lines_go_to_standard_error_and_the_program_keeps_its_output(
    runner: Runner, line: Line, sandbox: Sandbox
) -> None:
    done = _trace(runner, line, "--plain")

    assert done.lines == [sandbox.config]
    (opened,) = (call for call in parse(done.err) if '"/app/config.yaml"' in call.arguments[1])
    assert opened.name == "openat"
    assert re.fullmatch('"/app/config.yaml" → "/.*/fs/app/config.yaml"', opened.arguments[1])
    assert re.fullmatch(r"\d+ \(remote, .*\)", opened.result)


def test_a_call_that_the_kernel_runs_has_no_result(runner: Runner, line: Line) -> None:
    done = _trace(runner, line, "--plain")

    results = {call.result for call in parse(done.err) if '"/etc/ld.so.cache"' in call.arguments}
    assert results == {"? (local)"}


@pytest.mark.both_users
def test_with_results_every_call_has_one(runner: Runner, sandbox: Sandbox, user: User) -> None:
    out = user.home / secrets.token_hex(4)

    def written(form: str) -> list[str]:
        line = [user.mirrord, "trace", "-q", "--results", "-t", sandbox.target, form, "-o", str(out)]
        assert runner.run([*line, "--", "cat", "/app/config.yaml", "/etc/missing"]).code == 1
        return out.read_text().splitlines()

    events = [json.loads(text) for text in written("--json")]
    opened = {event["arguments"][1]: event for event in events if event["call"] == "openat"}
    assert all(event["result"] is not None for event in events)
    assert opened['"/etc/ld.so.cache"']["answer"] == "continued"
    assert opened['"/etc/ld.so.cache"']["result"] >= 0
    assert opened['"/etc/missing"']["error"] == "ENOENT"
    assert opened['"/app/config.yaml"']["answer"] == "descriptor"
    rows = {row.split()[-1]: row.split() for row in written("--summary")[1:]}
    assert int(rows["openat"][3]) == sum(event["error"] is not None for event in opened.values())


def test_results_need_the_engine_that_learns_them(runner: Runner, user: User) -> None:
    line = [user.mirrord, "trace", "--results", "--engine", "notify", "--", "true"]

    done = runner.run(line)

    assert done.code == 2
    assert done.err.startswith("mirrord: --results needs the engine ptrace")


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [("access", {"access"}), ("remote", {"openat"}), ("files", {"access", "openat"}), ("outgoing", set())],
)
def test_only_what_was_asked_for_is_shown(runner: Runner, line: Line, wanted: str, shown: set[str]) -> None:
    done = _trace(runner, line, "--plain", "-e", wanted)

    assert {call.name for call in parse(done.err)} == shown


@pytest.mark.both_engines
def test_objects_say_why(runner: Runner, line: Line) -> None:
    done = _trace(runner, line, "--json")

    events = [json.loads(text) for text in done.err.splitlines()]
    (opened,) = (event for event in events if '"/app/config.yaml"' in event["arguments"])
    assert (opened["plane"], opened["side"], opened["answer"]) == ("files", "remote", "descriptor")
    assert "mode is `read`" in opened["rule"]
    assert opened["command"] == "cat"
    assert opened["held"]
    assert opened["result"] >= 0
    local = next(event for event in events if event["side"] == "local")
    assert local["result"] is None
    assert local["answer"] == "continued"


REWRITTEN = """
import socket, sys
host, moved, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
open("/app/config.yaml").close()
open(moved).close()
with socket.create_connection((host, 7)) as echo:
    echo.getpeername()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
    echo.sendto(b"word", (host, 7))
    echo.recvfrom(1000)
with socket.socket() as listener:
    listener.bind(("127.0.0.1", port))
"""


@pytest.mark.both_engines
@pytest.mark.both_users
def test_what_was_and_what_it_became(runner: Runner, line: Line, user: User) -> None:
    """What a program gives is something else where it is used here; what it gets was so."""
    name, place = f"/moved-{secrets.token_hex(4)}", user.home / secrets.token_hex(4)
    place.write_text("")
    place.chmod(0o644)
    config = user.home / f"{place.name}.json"
    config.write_text(json.dumps({"feature": {"fs": {"mapping": {f"^{name}": str(place)}}}}))
    with socket.create_server(("", free_port())) as taken:
        port = taken.getsockname()[1]
        words = line.of(
            "trace",
            SYSTEM_PYTHON,
            "-c",
            REWRITTEN,
            ECHO,
            name,
            str(port),
            options=["-q", "--json", "-f", str(config)],
        )
        done = runner.run(words)

    assert done.code == 0, done.err
    found = [
        (event["call"], one["was"], one["became"])
        for event in map(json.loads, done.err.splitlines())
        for one in event["rewritten"]
    ]
    assert ("openat", f'"{name}"', f'"{place}"') in found
    expected = [
        ("openat", '"/app/config.yaml"', "/fs/app/config.yaml"),
        ("connect", f'htons(7), sin_addr=inet_addr("{ECHO}")', '"127.'),
        ("getpeername", '"127.', f'htons(7), sin_addr=inet_addr("{ECHO}")'),
        ("sendto", f'htons(7), sin_addr=inet_addr("{ECHO}")', '"127.'),
        ("recvfrom", '"127.', f'htons(7), sin_addr=inet_addr("{ECHO}")'),
        ("bind", f"htons({port})", "htons("),
    ]
    for call, was, became in expected:
        assert any(one[0] == call and was in one[1] and became in one[2] for one in found), (call, found)


def test_a_table_counts_what_was_called(runner: Runner, line: Line) -> None:
    lines = list(parse(_trace(runner, line, "--plain").err))
    table = _trace(runner, line, "--summary").err.splitlines()

    assert table[0].split()[-1] == "syscall"
    rows = {row.split()[-1]: row.split() for row in table[1:]}
    assert set(rows) == {call.name for call in lines}
    assert int(rows["openat"][2]) == sum(call.name == "openat" for call in lines)


TALKS = """
import socket, sys
host, word = sys.argv[1], sys.argv[2].encode()
with socket.create_connection((host, 7)) as echo:
    echo.sendall(word * 20000)
    got = b""
    while len(got) < len(word) * 20000:
        got += echo.recv(65536)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
    for number in range(3):
        echo.sendto(word + b"%d" % number, (host, 7))
        print(echo.recv(1000).decode())
"""


@pytest.mark.both_users
def test_the_targets_traffic_is_captured(runner: Runner, line: Line, user: User) -> None:
    path = user.home / f"{secrets.token_hex(4)}.pcap"
    word = secrets.token_hex(8)
    options = ["-q", "--pcap", str(path), "-o", "/dev/null"]

    done = runner.run(line.of("trace", SYSTEM_PYTHON, "-c", TALKS, ECHO, word, options=options))

    assert done.lines == [f"{word}{number}" for number in range(3)]
    (stream,) = (stream for stream in streams(path) if stream.server == (ECHO, 7))
    assert stream.client[0] == POD4
    assert set(stream.data.values()) == {word.encode() * 20000}
    datagrams = [packet for _, packet in packets(path) if packet.protocol == socket.IPPROTO_UDP]
    assert [packet.data.decode() for packet in datagrams if packet.target == (ECHO, 7)] == done.lines
    assert [packet.data.decode() for packet in datagrams if packet.source == (ECHO, 7)] == done.lines
    _check_by_tshark(path)


def _check_by_tshark(path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        return
    checks = [word for protocol in ("ip", "tcp", "udp") for word in ("-o", f"{protocol}.check_checksum:TRUE")]
    done = subprocess.run(
        [tshark, "-r", path, *checks, "-q", "-z", "expert"], capture_output=True, text=True, check=True
    )
    assert not re.search("^(Errors|Warns)", done.stdout, re.MULTILINE), done.stdout


def test_no_traffic_is_captured_without_a_target(runner: Runner, user: User) -> None:
    done = runner.run([user.mirrord, "trace", "--pcap", "capture", "--", "true"])

    assert done.code == 2
    assert "--pcap needs a target" in done.err


def test_the_exit_code_is_the_programs(runner: Runner, line: Line) -> None:
    done = runner.run(line.of("trace", "sh", "-c", "exit 7", options=["-q", "--plain"]))

    assert done.code == 7


def test_a_reader_that_goes_stops_nothing(runner: Runner, line: Line) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9; do cat /app/config.yaml >/dev/null || exit 1; done; echo done"
    words = " ".join(
        f"'{word}'"
        for word in line.of("trace", "sh", "-c", script.replace("'", ""), options=["-q", "--plain"])
    )

    done = runner.run(["bash", "-c", f"{words} 2> >(head -n 1 >/dev/null)"])

    assert done.lines == ["done"]


def test_nothing_is_written_where_nothing_can_be(runner: Runner, line: Line) -> None:
    done = _trace(runner, line, "--plain", "-o", "/nowhere/at/all")

    assert done.code == 125
    assert "/nowhere/at/all cannot be written" in done.err


@pytest.mark.parametrize("word", ["remotely", "openatt", ""])
def test_what_is_no_call_is_told(runner: Runner, line: Line, word: str) -> None:
    done = _trace(runner, line, "--plain", "-e", word)

    assert done.code == 2


@pytest.mark.both_users
def test_without_a_target_everything_is_local(runner: Runner, user: User) -> None:
    place = user.home / secrets.token_hex(4)
    line = [
        user.mirrord,
        "trace",
        "--json",
        "--",
        "sh",
        "-c",
        f"mkdir {place}; cat /etc/hostname; rmdir {place}",
    ]

    done = runner.run(line)

    events = [json.loads(text) for text in done.err.splitlines()]
    assert done.lines == Path("/etc/hostname").read_text().splitlines()
    assert {event["side"] for event in events} == {"local"}
    assert {"mkdir", "openat", "execve", "rmdir"} <= {event["call"] for event in events}
    assert {event["rule"] for event in events} == {"there is no target: everything is local"}


@pytest.mark.both_users
@pytest.mark.parametrize("side", ["local", "remote"])
def test_a_process_that_runs_already_is_looked_at(attaching: Attaching, user: User, side: str) -> None:
    place = user.home / secrets.token_hex(4)
    target = [] if side == "local" else ["-t", attaching.sandbox.target]
    with attaching.program(*command("attached"), "look") as running:
        local = running.look()
        with attaching.traced(running.pid, *target, "--json", "-o", str(place)) as session:
            assert (running.look() == local) == (side == "local")
            assert session.interrupt().code == 0
        assert running.look() == local
        running.end()
    events = [json.loads(text) for text in place.read_text().splitlines()]
    assert {event["pid"] for event in events} == {running.pid}
    opened = [event for event in events if '"/app/config.yaml"' in event["arguments"]]
    assert [event["side"] for event in opened] == [side]
    assert {event["side"] for event in events} <= {"local", side}


GETS = """
import json, os, sys, threading
def opened(path):
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError as error:
        return -error.errno
    os.close(fd)
    return fd
def gets():
    paths = sys.argv[1:]
    got.update({"openat " + path: opened(path) for path in paths})
    got["readlink /proc/self/exe"] = len(os.readlink("/proc/self/exe"))
print("ready 0", flush=True)
for _ in sys.stdin:
    got = {}
    gets()
    thread = threading.Thread(target=lambda: got.update({"openat /": opened("/")}))
    thread.start()
    thread.join()
    print(json.dumps(got), flush=True)
"""


@pytest.mark.both_users
@pytest.mark.parametrize("side", ["local", "remote"])
def test_the_results_of_a_process_that_runs_already(attaching: Attaching, user: User, side: str) -> None:
    place = user.home / secrets.token_hex(4)
    target = [] if side == "local" else ["-t", attaching.sandbox.target]
    paths = ("/app/config.yaml", "/etc/ld.so.cache", "/nowhere", "/etc/hostname/below", f"{user.home}")
    with attaching.program(SYSTEM_PYTHON, "-c", GETS, *paths) as running:
        running.look()
        with attaching.traced(running.pid, *target, "--results", "--json", "-o", str(place)) as session:
            got = json.loads(running.look())
            assert session.interrupt().code == 0
        running.end()
    events = [json.loads(text) for text in place.read_text().splitlines()]
    shown = {
        f"{event['call']} {path.strip(chr(34))}": event["result"]
        for event in events
        for path in event["arguments"][:2]
        if path.startswith('"/')
    }
    assert {name: shown.get(name) for name in got} == got
    assert (got["openat /app/config.yaml"] >= 0) == (side == "remote")
    assert all(event["result"] is not None for event in events)


def test_what_cannot_be_attached_to_is_not_traced(attaching: Attaching, user: User) -> None:
    with (
        attaching.program(*command("attached"), "look") as running,
        attaching.attached(running.pid) as session,
    ):
        refused = attaching.runner.run([user.mirrord, "trace", "--plain", "--attach", str(running.pid)])
        assert refused.code == 1
        assert f"attached to already, by the session of process {session.supervisor}" in refused.err
        session.interrupt()
        running.end()
    gone = attaching.runner.run([user.mirrord, "trace", "--plain", "--attach", str(running.pid)])
    assert (gone.code, gone.err) == (1, f"mirrord: there is no process {running.pid}\n")
