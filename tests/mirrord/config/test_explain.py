import datetime
import difflib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.config.explain import _all_keys, dotted, refuse_pending
from mirrord.config.load import validate
from mirrord.config.model import Configuration
from mirrord.errors import UsageError


def tree(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def complaint(path: str, value: Any) -> str:
    with pytest.raises(UsageError) as caught:
        refuse_pending(validate(tree(path, value), where="m.json"), "m.json", {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("featur", "feature"),
        ("feature.netwrk", "feature.network"),
        ("feature.network.outgoing.filters", "feature.network.outgoing.filter"),
        ("feature.network.incoming.http_filter.header", "feature.network.incoming.http_filter.header_filter"),
        ("dns", "feature.network.dns"),
        ("feature.ephemeral", "agent.ephemeral"),
        ("feature.incoming", "feature.network.incoming"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(path: str, near: str) -> None:
    assert complaint(path, {}) == f"unknown key `{path}` in m.json; did you mean `{near}`?"


def test_an_unknown_key_near_nothing_names_those_that_are_known() -> None:
    assert "known here: mode, " in complaint("feature.fs.qqq", 1)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("feature.network.dns.enabled", "yes", "must be true or false, not a text"),
        ("feature.network.outgoing.tcp", 1, "must be true or false, not a number"),
        ("feature", 3, "must be an object, not a number"),
        ("feature.env.override.PASSWORD", 12345, "must be a text, not a number"),
        ("feature.env.override", ["hunter2"], "must be an object, not a list"),
        ("feature.fs.mode", "rea", "must be `read`, `write`, `local` or `localwithoverrides`, not `rea`"),
        ("feature.fs.local", ["("], "is wrong: `(` is not a regular expression"),
        (
            "feature.fs.readonly_file_buffer",
            1 << 30,
            "is wrong: input should be less than or equal to 15728640",
        ),
        ("feature.network.outgoing.filter.remote", [], "must not be empty"),
        ("feature.network.outgoing.filter.remote", "a b", "is wrong: `a b` is not a filter entry"),
        ("feature.network.incoming.port_mapping", [[1]], "has too few entries"),
        ("feature.network.incoming.port_mapping", [[1, 2, 3]], "has too many entries"),
        ("feature.network.incoming.ports", [70000], "is wrong: input should be less than or equal to 65535"),
        ("target.path", {"pod": 3}, "must have names that are texts"),
        ("feature.network", {True: 1}, "must be named by a text, not"),
        ("key", datetime.date(2026, 1, 1), "must be a text, not something else"),
        ("skip_processes", [None], "must be a text, not null"),
    ],
)
def test_a_wrong_value_is_a_clear_sentence(path: str, value: Any, sentence: str) -> None:
    text = complaint(path, value)
    assert text.startswith(f"`{path}")
    assert f" in m.json {sentence}" in text


def test_values_that_may_be_secrets_are_not_shown() -> None:
    for value in (["hunter2"], "hunter2"):
        assert "hunter2" not in complaint("feature.env.override", value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("feature.network.incoming.mode", "steal"),
        ("feature.network.incoming.on_concurrent_steal", "override"),
        ("feature.network.incoming.http_filter.header_filter", "x"),
        ("feature.network.incoming.tls_delivery", {"protocol": "tcp"}),
        ("feature.fs.mode", "write"),
        ("feature.env.load_from_process", True),
        ("feature.copy_target.enabled", True),
        ("feature.db_branches", [{}]),
        ("agent.security_context", {}),
        ("agent.metrics", "0.0.0.0:9000"),
        ("operator", True),
    ],
)
def test_keys_of_things_not_built_yet_are_refused(path: str, value: Any) -> None:
    assert f"`{path}` in m.json is not supported yet; remove it, or set it to " in complaint(path, value)


def test_the_flag_or_variable_is_named_in_place_of_the_key() -> None:
    configuration = validate({"operator": True})
    with pytest.raises(UsageError, match="`X` is not supported yet"):
        refuse_pending(configuration, "", {"operator": "`X`"})


def test_the_defaults_written_out_are_accepted() -> None:
    whole = Configuration.model_validate({}).model_dump()
    refuse_pending(validate(whole), "", {})


@given(st.sampled_from(sorted(_all_keys(Configuration, ()))), st.data())
def test_one_letter_less_is_understood(path: str, data: st.DataObject) -> None:
    parents, _, name = path.rpartition(".")
    position = data.draw(st.integers(0, len(name) - 1))
    wrong = f"{parents}.{name[:position]}{name[position + 1 :]}".lstrip(".")
    if wrong in set(_all_keys(Configuration, ())) or len(name) < 4 or path.startswith("target"):
        return
    with pytest.raises(UsageError, match="unknown key") as caught:
        validate(tree(wrong, 1))
    found = re.search(r"did you mean `(.*)`", str(caught.value))
    assert found
    assert difflib.SequenceMatcher(None, found[1].rpartition(".")[2], name).ratio() > 0.6


def test_locations_are_written_as_people_do() -> None:
    assert dotted(("feature", "fs", "local", 0)) == "feature.fs.local[0]"
    assert dotted(("a", "[key]")) == "a"
