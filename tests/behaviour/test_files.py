"""First files: the target's configuration and secrets, read and looked at."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable

import pytest

from ..conftest import Mirrord
from ..support.build import ROOT
from ..support.needs import tool
from ..support.running import Outcome, Runner
from ..support.sandboxes import Sandbox

SECRETS = "/var/run/secrets/kubernetes.io/serviceaccount"
BIG = "/app/data/big.bin"
STAT = "%n %s %a %u %g %h %F %.Y"


@pytest.mark.both_engines
@pytest.mark.both_users
def test_a_file_of_the_target_is_read(mirrord: Mirrord, sandbox: Sandbox) -> None:
    session = mirrord("cat", "/app/config.yaml", options=["-v"])

    assert session.lines == [sandbox.config]
    assert session.statistics["open_file"] == 1


@pytest.mark.both_users
@pytest.mark.parametrize("name", ["token", "namespace", "ca.crt"])
def test_secrets_are_the_targets(mirrord: Mirrord, in_pod: Callable[..., Outcome], name: str) -> None:
    line = ["cat", f"{SECRETS}/{name}"]

    assert mirrord(*line).lines == in_pod(*line).lines


@pytest.mark.sample("follow0-/app/(config|data$)|follow1-/app/data/link")
@pytest.mark.both_engines
@pytest.mark.parametrize(
    "path", ["/app/config.yaml", "/app/data", "/app/data/link", "/app/data/unreadable", BIG, "/app/echo.sock"]
)
@pytest.mark.parametrize("follow", [[], ["-L"]])
def test_stat_tells_what_the_pod_tells(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], path: str, follow: list[str]
) -> None:
    line = ["stat", *follow, "-c", STAT, path]

    assert mirrord(*line).lines == in_pod(*line).lines


@pytest.mark.sample("nothing|path3")
@pytest.mark.both_engines
@pytest.mark.parametrize(
    "path", ["/app/nothing", "/app/config.yaml/below", "/nowhere/at/all", f"/app/{'x' * 300}"]
)
def test_what_is_not_there_fails_as_in_the_pod(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], path: str
) -> None:
    session, pod = mirrord("cat", path), in_pod("cat", path)

    assert session.code == pod.code == 1
    assert pod.err.strip() in session.err


@pytest.mark.sample("not-utf")
@pytest.mark.both_engines
@pytest.mark.parametrize("name", ["name with spaces.txt", "not-utf-8-\udcff\udcfe.txt"])
def test_names_of_any_bytes(mirrord: Mirrord, in_pod: Callable[..., Outcome], name: str) -> None:
    line = ["cat", f"/app/data/{name}"]

    session = mirrord(*line)

    assert session.lines
    assert session.lines == in_pod(*line).lines


@pytest.mark.both_users
@pytest.mark.parametrize("mode", ["400", "440", "555"])
def test_a_file_that_its_owner_may_not_write_is_read(
    mirrord: Mirrord, in_pod: Callable[..., Outcome], mode: str
) -> None:
    path = f"/app/read-only-{mode}"
    in_pod("sh", "-c", f"rm -f {path}; echo word > {path}; chmod {mode} {path}")

    assert mirrord("sh", "-c", f"stat -c %a {path}; cat {path}; cat {path}").lines == [mode, "word", "word"]


def test_a_large_file_is_whole(mirrord: Mirrord, in_pod: Callable[..., Outcome]) -> None:
    line = ["sha256sum", BIG]

    session = mirrord(*line)

    assert session.lines == in_pod(*line).lines


@pytest.mark.both_engines
def test_a_file_of_this_machine_stays_local(mirrord: Mirrord) -> None:
    path = ROOT / "pyproject.toml"

    session = mirrord("sha256sum", str(path), options=["-v"])

    assert session.lines[0].split()[0] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "open_file" not in session.statistics


def test_files_may_be_left_local(mirrord: Mirrord) -> None:
    session = mirrord("cat", "/app/config.yaml", options=["--fs-mode", "local"])

    assert session.code == 1


def test_a_remote_file_is_not_written(mirrord: Mirrord, in_pod: Callable[..., Outcome]) -> None:
    mirrord("sh", "-c", "echo changed > /app/config.yaml")

    assert in_pod("cat", "/app/config.yaml").lines != ["changed"]


@pytest.mark.both_users
def test_what_a_mapping_moves_on_this_machine_is_changed_there(mirrord: Mirrord, runner: Runner) -> None:
    """By whatever programs do to files and directories, under a name that nothing has here."""
    name, place = f"/moved-{secrets.token_hex(4)}", runner.user.home / f"place-{secrets.token_hex(4)}"
    place.mkdir()
    place.chmod(0o777)
    configuration = runner.user.home / f"{place.name}.json"
    rules = {"skip_build_tools": False, "feature": {"fs": {"mapping": {f"^{name}": str(place)}}}}
    configuration.write_text(json.dumps(rules))
    script = (
        "umask 027; mkdir -p $0/a/b; echo hi > $0/a/f; cp -a $0/a $0/c; mv $0/c/f $0/g; ln $0/g $0/h; "
        "ln -s g $0/s; rm -r $0/a; chmod 604 $0/g; touch -d @5 $0/g; rmdir $0/c/b; "
        "mv $0/h $1/out; mv $1/out $0/in; cat $0/s"
    )

    session = mirrord("sh", "-c", script, name, str(place), options=["-q", "-f", str(configuration)])

    assert (session.lines, session.err) == (["hi"], "")
    assert sorted(path.name for path in place.iterdir()) == ["c", "g", "in", "s"]
    assert [(place / one).stat().st_mode & 0o777 for one in ("c", "g")] == [0o750, 0o604]
    assert ((place / "in").stat().st_mtime, (place / "g").stat().st_nlink) == (5, 2)
    assert list((place / "c").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
def test_what_a_mapping_moves_is_not_done_with_rights_that_a_program_gave_up(
    mirrord: Mirrord, runner: Runner
) -> None:
    name, place = f"/moved-{secrets.token_hex(4)}", runner.user.home / f"place-{secrets.token_hex(4)}"
    place.mkdir(mode=0o700)
    (place / "secret").write_text("roots")
    configuration = runner.user.home / f"{place.name}.json"
    configuration.write_text(json.dumps({"feature": {"fs": {"mapping": {f"^{name}": str(place)}}}}))
    change = [tool("setpriv"), "--reuid", "65534", "--clear-groups"]
    script = f"cat $0/secret; {' '.join(change)} cat $0/secret; {' '.join(change)} touch $0/mine; true"

    session = mirrord("sh", "-c", script, name, options=["-q", "-f", str(configuration)])

    assert session.lines == ["roots"]
    assert session.err.count("not the rights of its session") == 1
    assert [path.name for path in place.iterdir()] == ["secret"]
