"""Filters: each kind, their combinations, what is refused, and answers without a body."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mirrord_agent.http.filter import HttpFilter
from mirrord_agent.http.request import Request
from pydantic import ValidationError

REQUEST = Request("POST", "/users/7?debug=1", ("Host: web", "X-User: Anna", "baggage: a=1,session=anna"))


def _with_body(body: object) -> Request:
    return Request(REQUEST.method, REQUEST.target, REQUEST.headers, json.dumps(body).encode())


def _matches(request: Request = REQUEST, **filter: Any) -> bool | None:
    return HttpFilter.model_validate(filter).matches(request)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("x-user: anna", True),
        ("^X-USER: (?!berta)", True),
        ("^user", False),
        ("^baggage: .*session=anna$", True),
        (r"^x-user: \p{L}+\z", True),
        (r"(n)\1", True),
        ("[[:digit:]]$", False),
    ],
)
def test_headers(pattern: str, expected: bool) -> None:
    assert _matches(header_filter=pattern) is expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("^/users/7$", True), ("debug=1$", True), ("^/USERS", True), ("^/user/", False)],
)
def test_paths_without_and_with_the_query(pattern: str, expected: bool) -> None:
    assert _matches(path_filter=pattern) is expected


def test_methods() -> None:
    assert _matches(method_filter="post") is True
    assert _matches(method_filter="PO") is False


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ('any(.[]; test("^x-user: anna$"; "i"))', True),
        ('test("^x-user: anna$"; "i")', True),
        ('test("^x-user: berta"; "i")', False),
        ("length == 3", True),
        (".[0]", False),
        ("empty", False),
        ("repeat(1)", False),
        ('error("no")', False),
    ],
)
def test_jq_programs(program: str, expected: bool) -> None:
    assert _matches(header_filter_jq=program) is expected


@pytest.mark.parametrize(
    ("query", "pattern", "expected"),
    [
        ("$.user.name", "^anna$", True),
        ("$.user.age", "^7$", True),
        ("$.user.none", "", False),
        ("$.items[*]", "^2$", True),
        ("$.items[?@ > 2]", "3", True),
        ("$.user", '"age":7', True),
        ("$.yes", "^true$", True),
        ("$.nothing", "^null$", True),
        ("$.items[?typeof(@) == 'string']", "^x$", True),
    ],
)
def test_json_bodies(query: str, pattern: str, expected: bool) -> None:
    body = {"user": {"name": "Anna", "age": 7}, "items": [1, 2, 3, "x"], "yes": True, "nothing": None}
    filter = {"body": "json", "query": query, "matches": pattern}
    assert _matches(_with_body(body), body_filter=filter) is expected
    assert _matches(body_filter=filter) is None


@given(st.binary(max_size=50))
def test_any_body_is_only_no_match(body: bytes) -> None:
    filter = {"body": "json", "query": "$.never", "matches": ""}
    assert _matches(Request("GET", "/", (), body), body_filter=filter) is False


def test_a_body_nested_without_end_is_no_match() -> None:
    filter = {"body": "json", "query": "$..never", "matches": ""}
    assert _matches(Request("GET", "/", (), b"[" * 60_000), body_filter=filter) is False


_BODY = {"body": "json", "query": "$.a", "matches": "1"}


def test_all_of_and_any_of_do_not_wait_for_a_body_that_cannot_change_them() -> None:
    yes, no = {"method": "POST"}, {"path": "^/other"}
    assert _matches(all_of=[yes, {"header": "anna"}]) is True
    assert _matches(all_of=[yes, no]) is False
    assert _matches(any_of=[no, yes]) is True
    assert _matches(any_of=[no, no]) is False
    assert _matches(all_of=[_BODY, no]) is False
    assert _matches(all_of=[_BODY, yes]) is None
    assert _matches(any_of=[_BODY, yes]) is True
    assert _matches(any_of=[_BODY, no]) is None
    assert _matches(_with_body({"a": 1}), all_of=[_BODY, yes]) is True
    assert _matches(_with_body({"a": 2}), any_of=[_BODY, no]) is False


def test_ports() -> None:
    filter = HttpFilter.model_validate({"header_filter": "x", "ports": [80, 81]})
    assert filter.applies_to(80)
    assert not filter.applies_to(82)
    assert HttpFilter.model_validate({"header_filter": "x"}).applies_to(82)
    assert HttpFilter.model_validate({"path_filter": "x", "ports": 80}).ports == (80,)


def test_no_filter_takes_everything() -> None:
    assert HttpFilter().is_empty
    assert not HttpFilter().applies_to(80)
    assert HttpFilter().matches(REQUEST) is True


@pytest.mark.parametrize(
    ("filter", "sentence"),
    [
        ({"header_filter": "("}, r"`\(` is not a regular expression"),
        ({"path_filter": "[z-a]"}, "is not a regular expression"),
        ({"header_filter_jq": "]"}, "`]` is not a jq program"),
        ({"body_filter": {**_BODY, "query": "$["}}, r"`\$\[` is not a JSONPath"),
        ({"body_filter": {**_BODY, "body": "xml"}}, "Input should be 'json'"),
        ({"all_of": [{"method": ""}]}, "it is empty, and would take every request"),
        ({"header_filter": ""}, "it is empty, and would take every request"),
        ({"body_filter": {**_BODY, "query": ""}}, "it is empty, and would take every request"),
        ({"any_of": []}, "at least 1 item"),
        ({"any_of": [{"path": "*"}]}, "is not a regular expression"),
        (
            {"header_filter": "a", "method_filter": "b"},
            "has `header_filter` and `method_filter`, of which only one",
        ),
        ({"headers": "a"}, "Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_a_sentence(filter: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        HttpFilter.model_validate(filter)


def test_a_filter_survives_the_wire() -> None:
    filter = HttpFilter.model_validate({"all_of": [_BODY, {"header": "a"}], "ports": 80})
    assert HttpFilter.model_validate_json(filter.model_dump_json(by_alias=True)) == filter
