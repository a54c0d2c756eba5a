import subprocess
import sys

import pytest

from mirrord.config.load import resolve
from mirrord.config.options import ExecOptions
from mirrord.errors import TargetError
from mirrord.targets import prepare


class Said:
    """Notes what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    detail = warn = info

    def step(self, doing: str, purpose: str) -> None:
        self.lines.append(doing)


def test_a_session_without_a_cluster_does_not_import_its_client() -> None:
    modules = "mirrord.session.run, mirrord.targets.sandbox.target, mirrord.cli.ls"
    script = f"import sys, {modules}; print([m for m in ('kubernetes', 'aiohttp') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_sandbox_that_is_not_up() -> None:
    settings = resolve(ExecOptions(program=("true",), target="sandbox/nobody-has-this"), {})
    with pytest.raises(TargetError, match="no sandbox named nobody-has-this is up"):
        prepare(settings, Said())


def test_a_target_in_a_cluster_is_announced_before_the_client_is_imported() -> None:
    said = Said()
    target = prepare(resolve(ExecOptions(program=("true",), target="deploy/web"), {}), said)
    assert said.lines == ["looking for deploy/web"]
    assert target.label == "deployment/web"
