from typing import Any

import pytest

from mirrord.config.incoming import Incoming


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"ports": [80], "ignore_ports": [81]}, "has both `ports` and `ignore_ports`"),
        ({"port_mapping": [[1, 2], [1, 3]]}, "names a port twice"),
        ({"port_mapping": [[1, 2], [3, 2]]}, "names a port twice"),
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
