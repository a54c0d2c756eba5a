"""JSONPath queries."""

import json
from typing import Any

import pytest
from mirrord_agent.http.query import Query

_VALUES: list[Any] = [None, True, 1, 1.5, "x", [], {}]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("null", [None]),
        ("boolean", [True]),
        ("number", [1, 1.5]),
        ("string", ["x"]),
        ("array", [[]]),
        ("object", [{}]),
    ],
)
def test_types(name: str, expected: list[Any]) -> None:
    assert Query(f"$[?typeof(@) == '{name}']").find(json.dumps(_VALUES).encode()) == expected


def test_what_is_not_there_has_no_type() -> None:
    assert Query("$[?typeof(@.a) == 'undefined']").find(b'[{}, {"a": 1}]') == [{}]


def test_functions_of_the_standard() -> None:
    assert Query("$[?length(@) > 1]").find(b'["a", "bc"]') == ["bc"]
    assert Query("$[?search(@, 'b')]").find(b'["a", "bc"]') == ["bc"]


def test_what_is_no_query_is_said() -> None:
    with pytest.raises(ValueError, match="`a b` is not a JSONPath"):
        Query("a b")
