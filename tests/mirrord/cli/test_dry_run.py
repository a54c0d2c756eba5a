import pytest

from mirrord.cli import dry_run
from mirrord.config.options import ExecOptions
from mirrord.errors import UsageError


def test_a_sandbox_has_nothing_to_show() -> None:
    with pytest.raises(UsageError, match="a sandbox creates nothing in a cluster"):
        dry_run.main(ExecOptions(program=(), target="sandbox", dry_run="client"))
