from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.config.environment import NEVER_REMOTE, EnvironmentRules
from mirrord.config.features import Environment
from mirrord.errors import UsageError

REMOTE = {b"GREETING": b"hi", b"DB_HOST": b"db", b"PATH": b"/pod", b"HOME": b"/pod", b"BIN": b"\xff=x"}
LOCAL = {b"PATH": b"/here", b"SHELL": b"/bin/sh", b"GREETING": b"local"}


def apply(**keys: Any) -> dict[bytes, bytes]:
    return EnvironmentRules(Environment.model_validate(keys)).apply(REMOTE, LOCAL)


def test_the_targets_variables_go_over_the_local_ones() -> None:
    assert apply() == {**LOCAL, b"GREETING": b"hi", b"DB_HOST": b"db", b"BIN": b"\xff=x"}


def test_variables_about_places_are_never_taken() -> None:
    assert apply(include="*")[b"PATH"] == b"/here"
    assert b"HOME" not in apply(include=["HOME"])
    assert len(NEVER_REMOTE) == 39


def test_include_and_exclude() -> None:
    assert apply(include="DB_*;X") == {**LOCAL, b"DB_HOST": b"db"}
    assert b"DB_HOST" not in apply(exclude=["DB_*"])
    assert apply(include=[]) == LOCAL


def test_the_short_forms() -> None:
    off = EnvironmentRules(Environment.model_validate(False))
    assert off.apply(REMOTE, LOCAL) == LOCAL
    assert not off.wants_remote
    assert EnvironmentRules(Environment.model_validate(True)).wants_remote


def test_file_then_mapping_then_override_then_unset(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("GREETING=file\nDB_HOST=file\nNEW=file\nGONE=file\n")
    result = apply(
        env_file=str(file),
        mapping={"^db_|^new$": "mapped"},
        override={"NEW": "override"},
        unset=["gone", "shell"],
    )
    assert result[b"GREETING"] == b"file"
    assert result[b"DB_HOST"] == b"mapped"
    assert result[b"NEW"] == b"override"
    assert not {b"GONE", b"SHELL"} & set(result)


def test_the_file_is_relative_to_the_given_directory(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1")
    rules = EnvironmentRules(Environment.model_validate({"env_file": "env"}), cwd=bytes(tmp_path))
    assert rules.apply({}, {}) == {b"A": b"1"}


def test_a_missing_file_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"missing\.env cannot be read"):
        apply(env_file="/nowhere/missing.env")


def test_the_developers_aws_profile_is_not_passed_on() -> None:
    local = {b"AWS_PROFILE": b"me"}
    assert EnvironmentRules(Environment()).apply({}, local) == {}
    assert EnvironmentRules(Environment(), aws=False).apply({}, local) == local


variables = st.dictionaries(st.binary(min_size=1, max_size=6), st.binary(max_size=6), max_size=8)


@given(variables, variables)
def test_every_variable_comes_from_one_side(remote: dict[bytes, bytes], local: dict[bytes, bytes]) -> None:
    rules = EnvironmentRules(Environment(), aws=False)
    result = rules.apply(remote, local)
    assert set(result) == set(local) | {name for name in remote if rules.takes(name)}
    assert all(value in (remote.get(name), local.get(name)) for name, value in result.items())
