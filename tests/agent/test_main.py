import os
import subprocess
import sys
from pathlib import Path

import pytest
from mirrord_agent.wire.handshake import new_key, public_bytes

KEY = public_bytes(new_key()).hex()


def run(*arguments: str) -> tuple[int, str]:
    """Run the agent to its end; return its status and what it said on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "mirrord_agent", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def options(path: Path, *, pid: int | None = None, key: str = KEY, listen: str = "unix:") -> list[str]:
    """Return a whole command line."""
    target = str(os.getpid() if pid is None else pid)
    return ["--target-pid", target, "--listen", f"{listen}{path}", "--client-key", key]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"key": "abcd"}, "expected the 32 bytes of an Ed25519 public key, found 2"),
        ({"key": "no hex"}, "invalid _public_key value"),
        ({"listen": "tcp:"}, "expected unix:PATH, tcp:ADDRESS:PORT or tls:ADDRESS:PORT"),
        ({"listen": "udp:127.0.0.1:80"}, "expected unix:PATH, tcp:ADDRESS:PORT or tls:ADDRESS:PORT"),
    ],
)
def test_wrong_arguments_are_explained(tmp_path: Path, change: dict[str, str], problem: str) -> None:
    key, listen = change.get("key", KEY), change.get("listen", "unix:")
    status, said = run(*options(tmp_path / "agent.sock", key=key, listen=listen))
    assert status == 2
    assert problem in said


def test_a_missing_target_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    assert run(*options(path, pid=4_194_304)) == (1, "mirrord-agent: there is no process 4194304\n")
    assert not path.exists()


def test_a_place_that_cannot_be_listened_at_is_explained(tmp_path: Path) -> None:
    status, said = run(*options(tmp_path / "none" / "agent.sock"))
    assert status == 1
    assert said.endswith("agent.sock: No such file or directory\n")


def test_an_address_that_is_not_here_is_explained() -> None:
    status, said = run("--targetless", "--listen", "tcp:192.0.2.1:7737", "--client-key", KEY)
    assert status == 1
    assert said == "mirrord-agent: cannot listen at 192.0.2.1 port 7737: Cannot assign requested address\n"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_without_a_target_it_waits_only_as_long_as_it_was_told(address: str) -> None:
    line = ["--targetless", "--listen", f"tcp:{address}", "--client-key", KEY, "--patience", "0.01"]
    status, said = run(*line)
    assert (status, said) == (0, "mirrord-agent: ended: no client within 0 s\n")


@pytest.mark.parametrize("arguments", [["--container-id", "x"], ["--container-id", "A" * 64], []])
def test_a_target_is_named_exactly(arguments: list[str]) -> None:
    status, said = run(*arguments, "--listen", "tcp:127.0.0.1:0", "--client-key", KEY)
    assert status == 2
    assert "container-id" in said


def test_the_version_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mirrord_agent", "--version"], capture_output=True, check=True
    )
    assert done.stdout == b"0.1.0\n"
