"""JSONPath queries."""

from typing import Any

import pytest
from mirrord_agent.http.query import compile_query

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
    assert compile_query(f"$[?typeof(@) == '{name}']").findall(_VALUES) == expected


def test_what_is_not_there_has_no_type() -> None:
    assert compile_query("$[?typeof(@.a) == 'undefined']").findall([{}, {"a": 1}]) == [{}]


def test_functions_of_the_standard() -> None:
    assert compile_query("$[?length(@) > 1]").findall(["a", "bc"]) == ["bc"]
    assert compile_query("$[?search(@, 'b')]").findall(["a", "bc"]) == ["bc"]


def test_what_is_no_query_is_said() -> None:
    with pytest.raises(ValueError, match="`a b` is not a JSONPath"):
        compile_query("a b")
