"""Fetching large files: never a wrong byte, once, and not for nobody."""

import os
import signal
from collections.abc import Callable

import pytest

from ..conftest import Line, Mirrord
from ..support.build import SYSTEM_PYTHON
from ..support.relay import Relay
from ..support.running import Outcome, Runner
from ..support.sandboxes import Sandbox
from ..support.waiting import until

BIG = "/app/data/big.bin"
RATE = 10 * 2**20
READERS = {
    "read": f"sha256sum {BIG}",
    "redirection": f"sha256sum < {BIG}",
    "children": f"exec 3< {BIG}; (head -c 50000000 <&3; cat <&3) | sha256sum",
    "mapping": f'{SYSTEM_PYTHON} -c \'import hashlib, mmap; f = open("{BIG}", "rb"); '
    'print(hashlib.sha256(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)).hexdigest() + "  -")\'',
    "pread": f'{SYSTEM_PYTHON} -c \'import hashlib, os; f = os.open("{BIG}", 0); h = hashlib.sha256(); '
    "[h.update(os.pread(f, 65536, at)) for at in range(0, 100 * 2**20, 65536)]; print(h.hexdigest())'",
    "sendfile": f'{SYSTEM_PYTHON} -c \'import os, sys; f = os.open("{BIG}", 0); '
    "[0 for _ in iter(lambda: os.sendfile(1, f, None, 2**20), 0)]' | sha256sum",
}


AT_ONCE = (
    "\n".join(f"(set -- $({command}); echo {name} $1) &" for name, command in READERS.items()) + "\nwait"
)


@pytest.mark.parametrize("rate", [None, RATE], ids=["fast", "slow"])
def test_no_way_of_reading_shows_a_wrong_byte(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], slow: Callable[..., Relay], rate: int | None
) -> None:
    """All read at once, while the file is on its way."""
    link = slow(rate=rate)

    session = mirrord("bash", "-c", AT_ONCE, env=link.env)

    expected = in_pod("sha256sum", BIG).lines[0].split()[0]
    assert sorted(session.lines) == sorted(f"{name} {expected}" for name in READERS)
    assert link.requests.counts["open_file"] == 1
    if rate is not None:
        assert session.err.count(f"fetching {BIG} (100 MiB)") == 1
        assert f"{BIG}: " in session.err


def test_an_interrupted_fetch_leaves_nothing(line: Line, runner: Runner, slow: Callable[..., Relay]) -> None:
    link = slow(rate=RATE)
    with runner.start(line("cat", BIG), env=link.env) as process:
        until("the file is on its way", lambda: link.requests.counts["open_file"])
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) in (130, -signal.SIGINT)


def test_a_killed_agent_is_eio(
    line: Line, runner: Runner, sandbox: Sandbox, slow: Callable[..., Relay]
) -> None:
    link = slow(rate=RATE)
    with runner.start(line("cat", BIG), env=link.env) as process:
        until("the file is on its way", lambda: link.requests.counts["open_file"])
        (agent,) = sandbox.agents()
        os.kill(agent, signal.SIGKILL)
        out, said = process.communicate(timeout=20)

    assert (out, process.returncode) == ("", 1)
    assert "Input/output error" in said
    assert "the agent is gone" in said


def test_fifty_processes_share_one_fetch(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], slow: Callable[..., Relay]
) -> None:
    """While it takes a second, and they all come meanwhile."""
    in_pod("sh", "-c", "head -c 10M /dev/urandom > /app/shared")
    link = slow(rate=RATE)
    script = "for i in $(seq 50); do cksum < /app/shared & done; wait"

    session = mirrord("bash", "-c", script, env=link.env)

    assert session.lines == in_pod("cksum", "/app/shared").lines[0].rsplit(" ", 1)[:1] * 50
    assert link.requests.counts["open_file"] == 1
    in_pod("rm", "/app/shared")


def test_too_little_space_is_said(mirrord: Mirrord) -> None:
    session = mirrord("cat", BIG, env={"MIRRORD_FS_SPACE": "10M"})

    assert session.code == 1
    assert "No space left on device" in session.err
    assert "MIRRORD_FS_SPACE" in session.err


def test_what_nobody_has_open_makes_room(mirrord: Mirrord, in_pod: Callable[..., Outcome]) -> None:
    in_pod("sh", "-c", "for i in 1 2 3; do head -c 6000000 /dev/urandom > /app/part$i; done")
    line = ["sh", "-c", "cd /app; for i in 1 2 3 1; do cksum < part$i; done"]

    assert mirrord(*line, env={"MIRRORD_FS_SPACE": "10M"}).lines == in_pod(*line).lines
    in_pod("sh", "-c", "rm /app/part?")


def test_the_tree_may_be_on_a_disk(mirrord: Mirrord, sandbox: Sandbox, runner: Runner) -> None:
    folder = runner.user.home / "disk"
    folder.mkdir(mode=0o777, exist_ok=True)
    script = "exec 3< /app/config.yaml; cat <&3; stat -L -c %d /proc/self/fd/3"

    session = mirrord("sh", "-c", script, env={"MIRRORD_FS_DIRECTORY": str(folder)})

    assert session.lines == [sandbox.config, str(folder.stat().st_dev)]
    assert list(folder.iterdir()) == []


def test_a_directory_that_is_none_is_refused(mirrord: Mirrord) -> None:
    session = mirrord("true", env={"MIRRORD_FS_DIRECTORY": "/nowhere"})

    assert session.code == 125
    assert "MIRRORD_FS_DIRECTORY is /nowhere" in session.err


def test_local_files_cost_no_request(mirrord: Mirrord) -> None:
    """However many are opened."""

    def asked(program: str) -> dict[str, int]:
        return mirrord(SYSTEM_PYTHON, "-c", f"import os\n{program}", options=["-v"]).statistics

    many = "for _ in range(100_000): os.close(os.open('/usr/bin/env', 0))"
    assert asked(many) == asked("pass")


def test_requests_are_few(mirrord: Mirrord, in_pod: Callable[..., Outcome]) -> None:
    """For a directory of 1,000 files."""
    in_pod(
        "sh",
        "-c",
        "mkdir /app/thousand && cd /app/thousand && for i in $(seq 1000); do echo $i > f$i; done",
    )

    def asked(script: str) -> dict[str, int]:
        counts = mirrord("bash", "-c", script, options=["-v"]).statistics
        return {name: count for name, count in counts.items() if not name.startswith("get_")} | {
            name: count for name, count in counts.items() if name == "get_xattr"
        }

    listed = asked("ls -la /app/thousand")
    assert sum(listed.values()) <= 3
    assert asked("ls -la /app/thousand > /dev/null; ls -la /app/thousand") == listed
    assert asked("cd /app/thousand; cat * > /dev/null")["open_file"] == 1000
    failing = (
        f'{SYSTEM_PYTHON} -c \'\nimport os\nfor n in range(10000):\n  try: open(f"/app/thousand/no{{n}}")\n'
        "  except FileNotFoundError: pass\n'"
    )
    known = asked(f"ls /app/thousand > /dev/null; {failing}")
    assert known == asked("ls /app/thousand > /dev/null")
    in_pod("rm", "-rf", "/app/thousand")
