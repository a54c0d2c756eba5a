"""The program's environment: the target's, but for what is left out or given here."""

from collections.abc import Sequence

import pytest

from ..conftest import Mirrord
from ..support.sandboxes import Sandbox


def _variables(lines: Sequence[str]) -> dict[str, str]:
    return dict(text.split("=", 1) for text in lines if "=" in text)


@pytest.mark.both_users
def test_the_targets_variables_are_given(mirrord: Mirrord, sandbox: Sandbox) -> None:
    session = mirrord("env", options=["-v"])
    given = _variables(session.lines)

    assert given["GREETING"] == sandbox.greeting
    assert given["POD_NAME"] == sandbox.hostname
    assert given["DATABASE_URL"] == "postgres://db.default.svc.cluster.local:5432/app"
    assert session.statistics["get_environment"] == 1


def test_this_machines_paths_stay(mirrord: Mirrord) -> None:
    given = _variables(mirrord("env", env={"OWN": "kept"}).lines)

    assert given["OWN"] == "kept"
    assert given["PATH"] == _variables(mirrord("env", options=["-x", "PATH"]).lines)["PATH"]


def test_only_what_is_included_is_given(mirrord: Mirrord) -> None:
    given = _variables(mirrord("env", options=["-s", "POD_*"]).lines)

    assert "POD_NAME" in given
    assert "GREETING" not in given


def test_what_is_excluded_is_not_given(mirrord: Mirrord) -> None:
    given = _variables(mirrord("env", options=["-x", "GREETING"]).lines)

    assert "POD_NAME" in given
    assert "GREETING" not in given


def test_the_targets_variable_goes_before_this_machines(mirrord: Mirrord, sandbox: Sandbox) -> None:
    given = _variables(mirrord("env", env={"GREETING": "from here"}).lines)

    assert given["GREETING"] == sandbox.greeting


def test_the_interpreters_own_locale_is_not_given(mirrord: Mirrord) -> None:
    given = _variables(mirrord("env", env={"LANG": "C", "LC_ALL": "", "LC_CTYPE": ""}).lines)

    assert (given["LANG"], given["LC_CTYPE"]) == ("C", "")
