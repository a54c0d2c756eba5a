from typing import Any

import pytest

from mirrord.config.explain import refuse_pending
from mirrord.config.incoming import Incoming, IncomingRules
from mirrord.config.load import validate
from mirrord.errors import UsageError


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"ports": [80], "ignore_ports": [81]}, "has both `ports` and `ignore_ports`"),
        ({"port_mapping": [[1, 2], [1, 3]]}, "names a port twice"),
        ({"port_mapping": [[1, 2], [3, 2]]}, "names a port twice"),
        ({"listen_ports": [[1, 2], [3, 2]]}, "has a `listen_ports` that names a port twice"),
        ({"http_filter": {"method_filter": "GET", "path_filter": "/"}}, "of which only one may be given"),
        ({"http_filter": {"header_filter": "("}}, "is not a regular expression"),
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
    tree = {"feature": {"network": {"incoming": {**keys, "mode": "steal"}}}}
    with pytest.raises(UsageError, match=r"`feature.network.incoming.mode` in m.json is not supported yet"):
        refuse_pending(validate(tree, where="m.json"), "m.json", {})
