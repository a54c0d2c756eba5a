import json
import os
from pathlib import Path

import pytest

from mirrord.cli import why
from mirrord.errors import UsageError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for name in [name for name in os.environ if name.startswith("MIRRORD_")]:
        monkeypatch.delenv(name)
    return tmp_path


def test_each_path_has_its_side_and_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert why.main(["/srv/x", "/etc/hosts", "/usr/bin/env", "./here"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" is ")[1].split(":")[0] for line in lines] == [
        "remote, read only",
        "remote, read only",
        "local",
        "local",
    ]
    assert lines[3].startswith(f"{os.getcwd()}/./here is local: ")


def test_writing_is_another_question(capsys: pytest.CaptureFixture[str]) -> None:
    why.main(["-w", "/srv/x"])
    assert capsys.readouterr().out.startswith("/srv/x is local: ")


def test_the_configuration_counts(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = elsewhere / "mirrord.json"
    file.write_text(json.dumps({"feature": {"fs": {"mode": "read", "not_found": ["^/srv"]}}}))
    why.main(["-f", str(file), "/srv/x"])
    assert capsys.readouterr().out == "/srv/x is absent: `feature.fs.not_found` has `^/srv`\n"


def test_short_names_belong_to_the_targets_namespace(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = elsewhere / "mirrord.json"
    file.write_text(json.dumps({"feature": {"network": {"outgoing": {"filter": {"local": ["db"]}}}}}))
    for namespace in ("shop", "other"):
        why.main(["-f", str(file), "-t", "pod/web", "-n", namespace, "tcp://db.shop.svc.cluster.local:1"])
    lines = capsys.readouterr().out.splitlines()
    sides = [line.split(" is ")[1].split(":")[0] for line in lines]
    assert sides == ["resolved on this machine", "local", "resolved in the target", "remote"]


def test_without_a_target_files_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    why.main(["-t", "targetless", "/srv/x"])
    assert capsys.readouterr().out.startswith("/srv/x is local: ")


def test_something_is_needed() -> None:
    with pytest.raises(UsageError):
        why.main([])
