import json
from typing import Any

import pytest
from mirrord_agent.http.filter import HttpFilter as Applied

from mirrord.config.explain import refuse_pending
from mirrord.config.incoming import HttpFilter, Incoming, IncomingRules
from mirrord.config.load import validate


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"ports": [80], "ignore_ports": [81]}, "has both `ports` and `ignore_ports`"),
        ({"port_mapping": [[1, 2], [1, 3]]}, "names a port twice"),
        ({"port_mapping": [[1, 2], [3, 2]]}, "names a port twice"),
        ({"listen_ports": [[1, 2], [3, 2]]}, "has a `listen_ports` that names a port twice"),
        ({"http_filter": {"method_filter": "GET", "path_filter": "/"}}, "of which only one may be given"),
        (
            {"http_filter": {"header_filter": "("}},
            "has a `header_filter` that is wrong: `\\(` is not a regular expression",
        ),
        (
            {"http_filter": {"all_of": [{"header": "a"}, {"path": "["}]}},
            r"has a `all_of\[1\].path` that is wrong: `\[` is not",
        ),
        ({"http_filter": {"any_of": [{"heder": "a"}]}}, r"has a `any_of\[0\]` that is wrong: an entry is an"),
        ({"http_filter": {"any_of": []}}, "has a `any_of` that is wrong: "),
        ({"http_filter": {"header_filter": ""}}, "has a `header_filter` that is wrong: it is empty"),
        ({"http_filter": {"any_of": [{"path": ""}]}}, r"has a `any_of\[0\].path` that is wrong: it is empty"),
        ({"http_filter": {"header_filter_jq": "["}}, "is not a jq program"),
        ({"http_filter": {"body_filter": {"body": "json"}}}, "has a `body_filter.query` that is wrong"),
    ],
)
def test_cross_field_rules(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Incoming.model_validate(keys)


def test_a_full_section_is_understood() -> None:
    found = Incoming.model_validate(
        {
            "mode": "steal",
            "http_filter": {"all_of": [{"header": "a"}], "ports": 80},
            "port_mapping": [[8080, 80]],
            "https_delivery": {"protocol": "tcp"},
        }
    )
    assert found.http_filter.ports == (80,)
    assert found.port_mapping == ((8080, 80),)
    assert found.tls_delivery == {"protocol": "tcp"}


def rules(keys: Any) -> IncomingRules:
    return IncomingRules(
        validate({"feature": {"network": {"incoming": keys}}}, where="test").feature.network.incoming
    )


@pytest.mark.parametrize(
    ("keys", "enabled"),
    [
        ({}, True),
        (True, True),
        ("mirror", True),
        ({"mode": "mirror"}, True),
        (False, False),
        ("off", False),
        ({"mode": "off"}, False),
        ({"mode": False}, False),
    ],
)
def test_every_form_of_on_and_off(keys: Any, enabled: bool) -> None:
    found = rules(keys)
    assert found.enabled is enabled
    assert found.remote_port(80, is_loopback=False) == (80 if enabled else None)


@pytest.mark.parametrize(
    ("keys", "requested", "is_loopback", "remote"),
    [
        ({}, 80, True, 80),
        ({}, 0, False, None),
        ({"ignore_localhost": True}, 80, True, None),
        ({"ignore_localhost": True}, 80, False, 80),
        ({"ports": [80]}, 80, False, 80),
        ({"ports": 80}, 81, False, None),
        ({"ignore_ports": [80]}, 80, False, None),
        ({"ignore_ports": 80}, 81, False, 81),
        ({"port_mapping": [[80, 8080]]}, 80, False, 8080),
        ({"port_mapping": [[80, 8080]]}, 8080, False, 8080),
        # the other lists are about what the program asks for
        ({"port_mapping": [[80, 8080]], "ports": [80]}, 80, False, 8080),
        ({"port_mapping": [[80, 8080]], "ignore_ports": [8080]}, 80, False, 8080),
    ],
)
def test_which_port_of_the_target_a_listener_stands_for(
    keys: dict[str, Any], requested: int, is_loopback: bool, remote: int | None
) -> None:
    assert rules(keys).remote_port(requested, is_loopback=is_loopback) == remote


def test_which_port_a_listener_has_here() -> None:
    found = rules({"listen_ports": [[80, 9999]]})
    assert found.local_port(80) == 9999
    assert found.local_port(81) == 81


@pytest.mark.parametrize(
    "keys",
    [
        {"ports": [80]},
        {"ignore_ports": [80]},
        {"port_mapping": [[80, 81]]},
        {"ignore_localhost": True},
        {"listen_ports": [[80, 81]]},
    ],
)
def test_what_is_built_is_not_refused(keys: dict[str, Any]) -> None:
    tree = {"feature": {"network": {"incoming": keys}}}
    refuse_pending(validate(tree, where="m.json"), "m.json", {})


BODY = {"body": "json", "query": "$.a", "matches": "b"}


@pytest.mark.parametrize(
    ("keys", "described"),
    [
        ({}, ""),
        ({"ports": [80]}, ""),
        ({"header_filter": "^a: b"}, "requests by `header_filter` ^a: b"),
        ({"body_filter": BODY}, f"requests by `body_filter` {json.dumps(BODY)}"),
        ({"path_filter": "x" * 300, "ports": 80}, f"requests by `path_filter` {'x' * 200}…"),
    ],
)
def test_what_is_asked_of_the_agent(keys: dict[str, Any], described: str) -> None:
    found = HttpFilter.model_validate(keys)
    assert found.described() == described
    text = found.as_json()
    assert bool(text) is bool(described)
    if text:
        applied = Applied.model_validate(json.loads(text))
        assert {**applied.model_dump(by_alias=True, exclude_none=True)} == {
            **keys,
            **({"ports": (80,)} if "ports" in keys else {}),
        }
