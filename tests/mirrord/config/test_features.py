from typing import Any

import pytest

from mirrord.config.features import Feature
from mirrord.config.load import validate
from mirrord.errors import UsageError


def feature(**keys: Any) -> dict[str, Any]:
    return Feature.model_validate(keys).model_dump()


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"env": True}, {}),
        ({"env": False}, {"env": {"exclude": ["*"]}}),
        ({"fs": True}, {}),
        ({"fs": False}, {"fs": {"mode": "local"}}),
        ({"fs": "localwithoverrides"}, {"fs": {"mode": "localwithoverrides"}}),
        ({"fs": {"local": "x"}}, {"fs": {"local": ["x"]}}),
        ({"network": True}, {}),
        ({"network": False}, {"network": {"incoming": "off", "outgoing": False, "dns": False}}),
        ({"network": {"outgoing": False}}, {"network": {"outgoing": {"tcp": False, "udp": False}}}),
        ({"network": {"dns": False}}, {"network": {"dns": {"enabled": False}}}),
        ({"network": {"incoming": False}}, {"network": {"incoming": {"mode": "off"}}}),
        ({"network": {"incoming": {"mode": False}}}, {"network": {"incoming": {"mode": "off"}}}),
        ({"copy_target": True}, {"copy_target": {"enabled": True}}),
        ({"copy_target": {"scale_down": True}}, {"copy_target": {"enabled": True, "scale_down": True}}),
        ({"copy_target": {}}, {}),
        ({"magic": False}, {"magic": {"aws": False, "auto_mount": False, "turbo": False}}),
    ],
)
def test_short_forms(short: dict[str, Any], long: dict[str, Any]) -> None:
    assert feature(**short) == feature(**long)


@pytest.mark.parametrize(
    "keys",
    [
        {"env": {"include": "a", "exclude": "b"}},
        {"env": {"mapping": {"(": "x"}}},
        {"fs": {"mapping": {"a": "$1"}}},
        {"fs": {"not_found": "("}},
        {"fs": {"mode": "rw"}},
        {"network": {"dns": {"filter": {"remote": ["a"], "local": ["b"]}}}},
        {"network": {"outgoing": {"filter": {"local": [""]}}}},
        {"network": {"outgoing": {"unix_streams": "("}}},
        {"network": "off"},
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Feature.model_validate(keys)


def test_values_that_may_be_secrets_are_not_in_the_representation() -> None:
    assert "hunter2" not in repr(
        Feature.model_validate({"env": {"override": {"A": "hunter2"}, "mapping": {"A": "hunter2"}}})
    )


@pytest.mark.parametrize("override", [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "\0"}])
def test_a_variable_that_no_program_can_get_is_refused(override: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"`feature\.env\.override` has a variable that no program can get"):
        validate({"feature": {"env": {"override": override}}})
